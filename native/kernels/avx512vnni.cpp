// Kernels for AVX-512 F/BW/DQ/VL + VNNI (Ice Lake 2019, Zen 4 2022).
#include "kernels/kernels.h"

#include <immintrin.h>
#define INLINE inline __attribute__((always_inline))

namespace ingle {
namespace {
constexpr const char* kIsa = "avx512vnni";
#include "kernels/simd_avx512.h"
#include "kernels/kernels.inl.h"
}  // namespace

const Kernels& kernels_avx512vnni() { return kTable; }

}  // namespace ingle
