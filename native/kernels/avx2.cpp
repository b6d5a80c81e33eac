// Kernels for AVX2 + FMA + F16C (Haswell 2013, Zen 2017).
#include "kernels/kernels.h"

#include <immintrin.h>
#define INLINE inline __attribute__((always_inline))

namespace ingle {
namespace {
constexpr const char* kIsa = "avx2";
#include "kernels/simd_avx2.h"
#include "kernels/kernels.inl.h"
}  // namespace

const Kernels& kernels_avx2() { return kTable; }

}  // namespace ingle
