// Portable build of the kernels: the baseline of the platform.
#include "kernels/kernels.h"

#define INLINE inline __attribute__((always_inline))

namespace ingle {
namespace {
constexpr const char* kIsa = "generic";
#include "kernels/simd_generic.h"
#include "kernels/kernels.inl.h"
}  // namespace

const Kernels& kernels_generic() { return kTable; }

}  // namespace ingle
