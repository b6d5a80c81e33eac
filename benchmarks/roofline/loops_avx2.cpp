#include <immintrin.h>

#include "read.inl.h"

namespace roofline {
namespace {

double int8() {
    __m256i sums[kChains] = {};
    const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
    for (int64_t i = 0; i < kRounds; ++i)
        for (__m256i& sum : sums) {
            __m256i x = a;
            asm("" : "+x"(x));  // or the product is taken out of the loop
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, b), ones));
        }
    for (__m256i& sum : sums) keep(sum);
    return 2.0 * 32 * kChains * kRounds;
}

double f32() {
    __m256 sums[kChains] = {};
    const __m256 a = _mm256_set1_ps(1e-3f), b = _mm256_set1_ps(1e-3f);
    for (int64_t i = 0; i < kRounds; ++i)
        for (__m256& sum : sums) sum = _mm256_fmadd_ps(a, b, sum);
    for (__m256& sum : sums) keep(sum);
    return 2.0 * 8 * kChains * kRounds;
}

}  // namespace

const Loops avx2_loops{"avx2", kReads, kNumReads, int8, nullptr, f32};

}  // namespace roofline
