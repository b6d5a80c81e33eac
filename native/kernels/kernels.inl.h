// The kernels, written once over the primitives of simd_<isa>.h and compiled per instruction set.
// Included inside `namespace ingle { namespace { ... } }` by <isa>.cpp, after simd_<isa>.h.

#include "kernels/block_types.inl.h"
#include "kernels/super_types.inl.h"
#include "kernels/q8_matmul.inl.h"
#include "kernels/f32_matmul.inl.h"
#include "kernels/rows.inl.h"
#include "kernels/moe.inl.h"
#include "kernels/attention.inl.h"

constexpr Kernels kTable = {
    kIsa,
    {nullptr, nullptr, nullptr, q8_matmul<TypeQ8_0>, q8_matmul<TypeQ4_0>, q8_matmul<TypeQ4_1>,
     q8_matmul<TypeQ5_0>, q8_matmul<TypeQ5_1>, looked_up<TypeIQ4_NL>, looked_up<TypeMXFP4>,
     q8_matmul<TypeQ2_K>, q8_matmul<TypeQ3_K>, q8_matmul<TypeQ4_K>, q8_matmul<TypeQ5_K>,
     q8_matmul<TypeQ6_K>, q8_matmul<TypeIQ4_XS>, q8_matmul<TypeQ6_0>, nullptr},
    {f32_matmul<AsFloat<FloatF32>>, f32_matmul<AsFloat<FloatF16>>, f32_matmul<AsFloat<FloatBF16>>,
     f32_matmul<BlockAsFloat<TypeQ8_0>>, f32_matmul<BlockAsFloat<TypeQ4_0>>,
     f32_matmul<BlockAsFloat<TypeQ4_1>>, f32_matmul<BlockAsFloat<TypeQ5_0>>,
     f32_matmul<BlockAsFloat<TypeQ5_1>>, f32_matmul<BlockAsFloat<TypeIQ4_NL>>,
     f32_matmul<BlockAsFloat<TypeMXFP4>>, f32_matmul<BlockAsFloat<TypeQ2_K>>,
     f32_matmul<BlockAsFloat<TypeQ3_K>>, f32_matmul<BlockAsFloat<TypeQ4_K>>,
     f32_matmul<BlockAsFloat<TypeQ5_K>>, f32_matmul<BlockAsFloat<TypeQ6_K>>,
     f32_matmul<BlockAsFloat<TypeIQ4_XS>>, f32_matmul<BlockAsFloat<TypeQ6_0>>, bf16_matmul},
    rms_norm,
    quantize_row,
    layer_norm,
    {silu_mul, clamped_swiglu, gelu_tanh},
    add_weighted,
    route,
    {attend<KvF32>, attend<KvF16>},
    {attend_span<KvF32>, attend_span<KvF16>},
    fold_spans,
    round_f16,
};
