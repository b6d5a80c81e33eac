// Kernels for every 64-bit Arm CPU (Cortex-A53 2012, Raspberry Pi 3).
#include "kernels/kernels.h"

#include <arm_neon.h>
#define INLINE inline __attribute__((always_inline))

namespace ingle {
namespace {
constexpr const char* kIsa = "neon";
#include "kernels/simd_neon.h"
#include "kernels/kernels.inl.h"
}  // namespace

const Kernels& kernels_neon() { return kTable; }

}  // namespace ingle
