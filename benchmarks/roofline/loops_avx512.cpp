// AVX-512 with VNNI and BF16; main asks the processor before it calls. Instructions are spelled out:
// GCC 12 moves every sum to another register around the intrinsic.
#include <immintrin.h>

#include "read.inl.h"

namespace roofline {
namespace {

double int8() {
    __m512i sums[kChains];
    for (__m512i& sum : sums) sum = _mm512_setzero_si512();
    const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
    for (int64_t i = 0; i < kRounds; ++i)
        for (__m512i& sum : sums) asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    for (__m512i& sum : sums) keep(sum);
    return 2.0 * 64 * kChains * kRounds;
}

double bf16() {
    __m512 sums[kChains];
    for (__m512& sum : sums) sum = _mm512_setzero_ps();
    const __m512bh a = (__m512bh)_mm512_set1_epi16(0x3A83);  // about 1e-3
    for (int64_t i = 0; i < kRounds; ++i)
        for (__m512& sum : sums) asm("vdpbf16ps %1, %1, %0" : "+v"(sum) : "v"(a));
    for (__m512& sum : sums) keep(sum);
    return 2.0 * 32 * kChains * kRounds;
}

double f32() {
    __m512 sums[kChains];
    for (__m512& sum : sums) sum = _mm512_setzero_ps();
    const __m512 a = _mm512_set1_ps(1e-3f), b = _mm512_set1_ps(1e-3f);
    for (int64_t i = 0; i < kRounds; ++i)
        for (__m512& sum : sums) asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    for (__m512& sum : sums) keep(sum);
    return 2.0 * 16 * kChains * kRounds;
}

}  // namespace

const Loops avx512_loops{"avx512", kReads, kNumReads, int8, bf16, f32};

}  // namespace roofline
