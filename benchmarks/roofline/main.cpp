// The limits of this machine: bytes read from memory per second, and operations per second without
// memory, by all threads together. Prints one JSON object. See docs/performance.md.
#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include "loops.h"

namespace roofline {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
    int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    int64_t nbytes = int64_t{4} << 30;
    int passes = 7;
    const char* file = nullptr;
};

struct Rate {
    std::string name;
    std::vector<double> passes;  // per second

    double best() const { return *std::max_element(passes.begin(), passes.end()); }
    double median() const {
        std::vector<double> sorted = passes;
        std::sort(sorted.begin(), sorted.end());
        const size_t half = sorted.size() / 2;
        return sorted.size() % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
    }
};

[[noreturn]] void fail(const std::string& message) {
    std::fprintf(stderr, "roofline: %s\n", message.c_str());
    std::exit(2);
}

// Runs work(thread) on all threads at once; returns seconds from the first start to the last end,
// by the threads' own clocks: whoever waits for them may be late.
template <class Work>
double together(int threads, const Work& work) {
    std::barrier gate(threads);
    std::vector<Clock::time_point> begun(static_cast<size_t>(threads)), ended(begun);
    std::vector<std::thread> all;
    for (size_t t = 0; t < begun.size(); ++t)
        all.emplace_back([&, t] {
            gate.arrive_and_wait();
            begun[t] = Clock::now();
            work(static_cast<int>(t));
            ended[t] = Clock::now();
        });
    for (std::thread& one : all) one.join();
    const auto first = *std::min_element(begun.begin(), begun.end());
    return std::chrono::duration<double>(*std::max_element(ended.begin(), ended.end()) - first).count();
}

const Loops& best_loops() {
#ifdef ROOFLINE_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16")) return avx512_loops;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2_loops;
#endif
    return generic_loops;
}

// `nbytes` of memory on huge pages, written so that it exists; never freed.
const uint8_t* fresh_memory(int64_t nbytes, int threads) {
    constexpr int64_t kHuge = 2 << 20;
    auto* data = static_cast<uint8_t*>(std::aligned_alloc(kHuge, static_cast<size_t>(nbytes)));
    if (data == nullptr) fail("no memory for " + std::to_string(nbytes) + " bytes");
#ifdef MADV_HUGEPAGE
    madvise(data, static_cast<size_t>(nbytes), MADV_HUGEPAGE);
#endif
    together(threads, [&](int t) {
        const int64_t chunks = nbytes / kChunk;
        const int64_t first = chunks * t / threads, end = chunks * (t + 1) / threads;
        std::memset(data + first * kChunk, t + 1, static_cast<size_t>((end - first) * kChunk));
    });
    return data;
}

// The page cache's copy of a file; what is not in it comes from the disk in the first pass.
const uint8_t* mapped(const char* path, int64_t& nbytes) {
#if defined(__unix__) || defined(__APPLE__)
    const int handle = open(path, O_RDONLY);
    struct stat about {};
    if (handle < 0 || fstat(handle, &about) != 0) fail(std::string("cannot open ") + path);
    nbytes = about.st_size / kChunk * kChunk;
    if (nbytes == 0) fail("the file must have at least 4 MiB");
    void* data = mmap(nullptr, static_cast<size_t>(nbytes), PROT_READ, MAP_SHARED, handle, 0);
    if (data == MAP_FAILED) fail(std::string("cannot map ") + path);
    return static_cast<const uint8_t*>(data);
#else
    (void)nbytes;
    fail(std::string("files are read on Unix alone, but got ") + path);
#endif
}

double read_once(const Read& read, const uint8_t* data, int64_t nbytes, int threads) {
    std::atomic<int64_t> next{0};
    std::atomic<uint64_t> kept{0};
    const double seconds = together(threads, [&](int) {
        uint64_t sum = 0;
        for (int64_t at; (at = next.fetch_add(kChunk, std::memory_order_relaxed)) < nbytes;)
            sum ^= read.sum(data + at, kChunk);
        kept.fetch_xor(sum);
    });
    return static_cast<double>(nbytes) / seconds;
}

// Every loop once per pass, so that all of them see the same neighbours.
std::vector<Rate> measure_reads(const Loops& loops, const Options& options) {
    int64_t nbytes = options.nbytes / kChunk * kChunk;
    const uint8_t* data = options.file ? mapped(options.file, nbytes) : fresh_memory(nbytes, options.threads);
    std::vector<Rate> rates;
    for (int r = 0; r < loops.num_reads; ++r) rates.push_back({loops.reads[r].name, {}});
    read_once(loops.reads[0], data, nbytes, options.threads);
    for (int pass = 0; pass < options.passes; ++pass)
        for (int r = 0; r < loops.num_reads; ++r)
            rates[r].passes.push_back(read_once(loops.reads[r], data, nbytes, options.threads));
    return rates;
}

Rate measure_peak(const char* name, double (*loop)(), const Options& options) {
    Rate rate{name, {}};
    for (int pass = 0; pass < options.passes; ++pass) {
        std::vector<double> operations(static_cast<size_t>(options.threads));
        const double seconds =
            together(options.threads, [&](int t) { operations[static_cast<size_t>(t)] = loop(); });
        double all = 0;
        for (const double one : operations) all += one;
        rate.passes.push_back(all / seconds);
    }
    return rate;
}

void print_peak(const char* name, double (*loop)(), const Options& options) {
    if (loop == nullptr) {
        std::printf(", \"%s_ops_per_s\": null", name);
        return;
    }
    const Rate rate = measure_peak(name, loop, options);
    std::printf(", \"%s_ops_per_s\": %.6g, \"%s_best_ops_per_s\": %.6g", name, rate.median(), name, rate.best());
}

void report(const Loops& loops, const Options& options) {
    const std::vector<Rate> reads = measure_reads(loops, options);
    const Rate& best = *std::max_element(
        reads.begin(), reads.end(), [](const Rate& a, const Rate& b) { return a.median() < b.median(); });
    double fastest = 0;
    for (const Rate& rate : reads) fastest = std::max(fastest, rate.best());
    std::printf("{\"threads\": %d, \"isa\": \"%s\", \"passes\": %d", options.threads, loops.isa, options.passes);
    std::printf(", \"read_bytes_per_s\": %.6g, \"read_best_bytes_per_s\": %.6g, \"read_loop\": \"%s\"",
                best.median(), fastest, best.name.c_str());
    print_peak("int8", loops.int8, options);
    print_peak("bf16", loops.bf16, options);
    print_peak("f32", loops.f32, options);
    std::printf(", \"reads\": {");
    for (size_t r = 0; r < reads.size(); ++r)
        std::printf("%s\"%s\": {\"median\": %.6g, \"best\": %.6g}", r ? ", " : "", reads[r].name.c_str(),
                    reads[r].median(), reads[r].best());
    std::printf("}}\n");
}

double number(const char* text) {
    char* end = nullptr;
    const double value = std::strtod(text, &end);
    if (end == text || *end != '\0' || !(value > 0 && value <= 4096))
        fail(std::string("a number from 0 to 4096 is wanted, but got ") + text);
    return value;
}

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; i += 2) {
        const std::string flag = argv[i];
        if (i + 1 == argc) fail("usage: roofline [--threads N] [--gib SIZE] [--passes N] [--file PATH]");
        if (flag == "--threads") options.threads = std::max(1, static_cast<int>(number(argv[i + 1])));
        else if (flag == "--gib") options.nbytes = std::max(kChunk, static_cast<int64_t>(number(argv[i + 1]) * (1 << 30)));
        else if (flag == "--passes") options.passes = std::max(1, static_cast<int>(number(argv[i + 1])));
        else if (flag == "--file") options.file = argv[i + 1];
        else fail("unknown option " + flag);
    }
    options.nbytes = options.nbytes / kChunk * kChunk;
    return options;
}

}  // namespace
}  // namespace roofline

int main(int argc, char** argv) {
    roofline::report(roofline::best_loops(), roofline::parse(argc, argv));
    return 0;
}
