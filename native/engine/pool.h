// Threads that run one function together, with a barrier between its steps.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ingle {

// Spins for about 50 microseconds, then sleeps: decode steps follow each other faster than a
// sleeping thread wakes, and an idle program must not burn a core.
class Pool {
public:
    explicit Pool(int num_threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int num_threads() const { return num_threads_; }
    // Calls work(thread) on every thread, the caller being thread 0; returns when all are done.
    void run(const std::function<void(int)>& work);
    // Held by whoever runs, for as long as its buffers are in use.
    std::mutex& mutex() { return mutex_; }
    // Whether the workers exist in this process: they do not survive a fork.
    bool alive() const;
    // All threads of a run meet here.
    void barrier();

private:
    void worker(int thread);
    void stop();

    const int num_threads_;
    const int64_t process_;
    std::mutex mutex_;
    const std::function<void(int)>* work_ = nullptr;
    std::vector<std::thread> workers_;
    alignas(64) std::atomic<uint32_t> generation_{0};
    alignas(64) std::atomic<int> running_{0};
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<uint32_t> phase_{0};
    std::atomic<bool> stopping_{false};
};

}  // namespace ingle
