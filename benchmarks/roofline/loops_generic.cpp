// Any processor; on Arm with the dot products of ARMv8.2.
#include "read.inl.h"

#ifdef __ARM_FEATURE_DOTPROD
#include <arm_neon.h>
#endif

namespace roofline {
namespace {

#ifdef __ARM_FEATURE_DOTPROD
double int8() {
    int32x4_t sums[kChains] = {};
    const int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(5);
    for (int64_t i = 0; i < kRounds; ++i)
        for (int32x4_t& sum : sums) {
            int8x16_t x = a;
            asm("" : "+w"(x));
            sum = vdotq_s32(sum, x, b);
        }
    for (int32x4_t& sum : sums) keep(sum);
    return 2.0 * 16 * kChains * kRounds;
}
constexpr auto kInt8 = int8;
#else
constexpr double (*kInt8)() = nullptr;
#endif

double f32() {
    typedef float Quad __attribute__((vector_size(16)));
    Quad sums[kChains] = {};
    const Quad a = {0.5f, 0.5f, 0.5f, 0.5f}, b = {1.0f, 1.0f, 1.0f, 1.0f};
    for (int64_t i = 0; i < kRounds; ++i)
        for (Quad& sum : sums) sum = sum * a + b;
    for (Quad& sum : sums) keep(sum);
    return 2.0 * 4 * kChains * kRounds;
}

}  // namespace

const Loops generic_loops{"generic", kReads, kNumReads, kInt8, nullptr, f32};

}  // namespace roofline
