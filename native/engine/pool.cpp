#include "engine/pool.h"

#if !defined(_WIN32)
#include <unistd.h>
#endif

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace ingle {
namespace {

int64_t process_id() {
#if defined(_WIN32)
    return 0;  // no fork there
#else
    return getpid();
#endif
}

constexpr int kSpins = 2000;  // about 50 microseconds of pauses

inline void pause() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Waits until `value` differs from `seen`.
template <class T>
void await_change(const std::atomic<T>& value, T seen) {
    for (int i = 0; i < kSpins; ++i) {
        if (value.load(std::memory_order_acquire) != seen) return;
        pause();
    }
    while (value.load(std::memory_order_acquire) == seen) value.wait(seen, std::memory_order_acquire);
}

}  // namespace

Pool::Pool(int num_threads) : num_threads_(num_threads), process_(process_id()) {
    try {
        for (int t = 1; t < num_threads; ++t) workers_.emplace_back([this, t] { worker(t); });
    } catch (...) {  // the system grants no more threads
        stop();
        throw;
    }
}

Pool::~Pool() {
    if (alive()) stop();
    else for (std::thread& w : workers_) w.detach();
}

bool Pool::alive() const { return process_ == process_id(); }

void Pool::stop() {
    stopping_.store(true);
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
    for (std::thread& w : workers_) w.join();
}

void Pool::worker(int thread) {
    uint32_t seen = 0;
    for (;;) {
        await_change(generation_, seen);
        seen = generation_.load(std::memory_order_acquire);
        if (stopping_.load()) return;
        (*work_)(thread);
        if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) running_.notify_all();
    }
}

void Pool::run(const std::function<void(int)>& work) {
    work_ = &work;
    running_.store(num_threads_ - 1, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    if (num_threads_ > 1) generation_.notify_all();
    work(0);
    for (int left; (left = running_.load(std::memory_order_acquire)) != 0;)
        await_change(running_, left);
    work_ = nullptr;
}

void Pool::barrier() {
    if (num_threads_ == 1) return;
    const uint32_t phase = phase_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == num_threads_) {
        arrived_.store(0, std::memory_order_relaxed);
        phase_.fetch_add(1, std::memory_order_release);
        phase_.notify_all();
    } else {
        await_change(phase_, phase);
    }
}

}  // namespace ingle
