#include "engine/measure.h"

#include <chrono>
#include <cstring>
#include <stdexcept>

#include "kernels/dispatch.h"

#ifdef INGLE_X86
#include <immintrin.h>
#endif

// Results go into registers that the compiler must believe to be used.
#define INGLE_KEEP(value) asm volatile("" : "+m"(value))

namespace ingle {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kRounds = 1 << 20;  // of a pass: some milliseconds
constexpr int kChains = 12;           // independent sums, more than latency x issue width
constexpr int64_t kLine = 64;

// Runs `work(thread)` on all threads between two barriers, `passes` times.
template <class Work>
std::vector<double> timed(Pool& pool, int passes, const Work& work) {
    std::vector<double> seconds(static_cast<size_t>(passes));
    pool.run([&](int thread) {
        for (double& pass : seconds) {
            pool.barrier();
            const auto begun = Clock::now();
            work(thread);
            pool.barrier();
            if (thread == 0) pass = std::chrono::duration<double>(Clock::now() - begun).count();
        }
    });
    return seconds;
}

uint64_t read_generic(const uint8_t* data, int64_t nbytes) {
    uint64_t sums[8] = {}, words[8];
    for (int64_t i = 0; i < nbytes; i += kLine) {
        std::memcpy(words, data + i, sizeof words);  // data may lie at any address
        for (int k = 0; k < 8; ++k) sums[k] += words[k];
    }
    uint64_t sum = 0;
    for (const uint64_t s : sums) sum += s;
    return sum;
}

double int8_generic() {  // returns operations
    int16_t a[16], b[16];
    int32_t sums[16] = {};
    for (int k = 0; k < 16; ++k) a[k] = static_cast<int16_t>(k + 1), b[k] = static_cast<int16_t>(3 * k);
    for (int64_t i = 0; i < kRounds; ++i) {
        for (int k = 0; k < 16; ++k) sums[k] += a[k] * b[k];
        INGLE_KEEP(a[0]);
    }
    INGLE_KEEP(sums[0]);
    return 2.0 * 16 * kRounds;
}

double float_generic() {
    float a[16], sums[16] = {};
    for (int k = 0; k < 16; ++k) a[k] = 1.0f + static_cast<float>(k);
    for (int64_t i = 0; i < kRounds; ++i) {
        for (int k = 0; k < 16; ++k) sums[k] += a[k] * a[k];
        INGLE_KEEP(a[0]);
    }
    INGLE_KEEP(sums[0]);
    return 2.0 * 16 * kRounds;
}

#ifdef INGLE_X86
// In the loops below an empty asm hides each operand, so that nothing is hoisted or folded.
__attribute__((target("avx2"))) uint64_t read_avx2(const uint8_t* data, int64_t nbytes) {
    __m256i sums[4] = {};
    for (int64_t i = 0; i < nbytes; i += 2 * kLine)
        for (int k = 0; k < 4; ++k) {
            const auto* at = reinterpret_cast<const __m256i*>(data + i + 32 * k);
            sums[k] = _mm256_add_epi64(sums[k], _mm256_loadu_si256(at));
        }
    const __m256i sum = _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
    return static_cast<uint64_t>(_mm256_extract_epi64(sum, 0));
}

__attribute__((target("avx2"))) double int8_avx2() {
    __m256i sums[kChains] = {};
    const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
    for (int64_t i = 0; i < kRounds; ++i)
        for (__m256i& sum : sums) {
            __m256i x = a;
            asm("" : "+x"(x));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, b), ones));
        }
    for (__m256i& sum : sums) INGLE_KEEP(sum);
    return 2.0 * 32 * kChains * kRounds;
}

__attribute__((target("avx2,fma"))) double float_avx2() {
    __m256 sums[kChains] = {};
    const __m256 a = _mm256_set1_ps(1e-3f), b = _mm256_set1_ps(1e-3f);
    for (int64_t i = 0; i < kRounds; ++i)
        for (__m256& sum : sums) sum = _mm256_fmadd_ps(a, b, sum);
    for (__m256& sum : sums) INGLE_KEEP(sum);
    return 2.0 * 8 * kChains * kRounds;
}

__attribute__((target("avx512f,avx512vnni"))) double int8_avx512vnni() {
    __m512i sums[kChains];
    for (__m512i& sum : sums) sum = _mm512_setzero_si512();
    const __m512i a = _mm512_set1_epi32(0x03030303), b = _mm512_set1_epi32(0x05050505);
    for (int64_t i = 0; i < kRounds; ++i)
        for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, a, b);
    for (__m512i& sum : sums) INGLE_KEEP(sum);
    return 2.0 * 64 * kChains * kRounds;
}

__attribute__((target("avx512f"))) double float_avx512() {
    __m512 sums[kChains];
    for (__m512& sum : sums) sum = _mm512_setzero_ps();
    const __m512 a = _mm512_set1_ps(1e-3f), b = _mm512_set1_ps(1e-3f);
    for (int64_t i = 0; i < kRounds; ++i)
        for (__m512& sum : sums) sum = _mm512_fmadd_ps(a, b, sum);
    for (__m512& sum : sums) INGLE_KEEP(sum);
    return 2.0 * 16 * kChains * kRounds;
}
#endif

using Loop = double (*)();

Peak peak(Pool& pool, int passes, Loop loop) {
    std::vector<double> counted(static_cast<size_t>(pool.num_threads()));
    Peak found;
    found.seconds = timed(pool, passes, [&](int thread) { counted[static_cast<size_t>(thread)] = loop(); });
    for (const double operations : counted) found.operations += operations;
    return found;
}

void check_isa(const std::string& isa) {
    if (find_kernels(isa) == nullptr)
        throw std::invalid_argument("instruction set '" + isa + "' cannot run on this CPU");
}

}  // namespace

std::vector<double> measure_read(Pool& pool, const uint8_t* data, int64_t nbytes, int passes) {
    auto read = read_generic;
#ifdef INGLE_X86
    if (find_kernels("avx2") != nullptr) read = read_avx2;
#endif
    const int64_t lines = nbytes / (2 * kLine);  // a slice is a whole number of line pairs
    const int64_t threads = pool.num_threads();
    return timed(pool, passes, [&](int thread) {
        const int64_t first = lines * thread / threads, end = lines * (thread + 1) / threads;
        uint64_t sum = read(data + first * 2 * kLine, (end - first) * 2 * kLine);
        INGLE_KEEP(sum);
    });
}

Peak measure_int8(Pool& pool, const std::string& isa, int passes) {
    check_isa(isa);
#ifdef INGLE_X86
    if (isa == "avx512vnni") return peak(pool, passes, int8_avx512vnni);
    if (isa == "avx2") return peak(pool, passes, int8_avx2);
#endif
    return peak(pool, passes, int8_generic);
}

Peak measure_float(Pool& pool, const std::string& isa, int passes) {
    check_isa(isa);
#ifdef INGLE_X86
    if (isa == "avx512vnni") return peak(pool, passes, float_avx512);
    if (isa == "avx2") return peak(pool, passes, float_avx2);
#endif
    return peak(pool, passes, float_generic);
}

}  // namespace ingle
