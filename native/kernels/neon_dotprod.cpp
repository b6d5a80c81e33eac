// Kernels for Arm NEON with dot products (Cortex-A76 2018, Apple M1 2020, Neoverse N1 2019).
#include "kernels/kernels.h"

#include <arm_neon.h>
#define INLINE inline __attribute__((always_inline))

namespace ingle {
namespace {
constexpr const char* kIsa = "neondotprod";
#include "kernels/simd_neon.h"
#include "kernels/kernels.inl.h"
}  // namespace

const Kernels& kernels_neon_dotprod() { return kTable; }

}  // namespace ingle
