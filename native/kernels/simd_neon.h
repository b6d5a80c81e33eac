// Sixteen float lanes as four Arm NEON registers, with or without the dot product instructions
// (__ARM_FEATURE_DOTPROD). Included inside a kernel namespace.
struct F { float32x4_t a, b, c, d; };  // 16 x float32
struct I { int32x4_t a, b, c, d; };    // 16 x int32
struct B { uint8x16_t a, b, c, d; };   // 64 x uint8: 16 rows x 4 columns of weights

constexpr bool kBiasedSigned = false, kMayHaveBf16Products = false, kMayHaveByteLookup = false;
// 16 registers of integer sums and 8 of weights; the totals are touched once a block
constexpr int kTilesTogether = 1, kMaxColumns = 4;
constexpr int kTileQueries = 4, kTileVectors = 1;  // of attention: 16 registers of sums

// op of the operands' first registers, of their second ones, ...
template <class R, class Op, class... X>
INLINE R each(Op op, X... x) {
    return {op(x.a...), op(x.b...), op(x.c...), op(x.d...)};
}

INLINE F f_set1(float x) {
    const float32x4_t v = vdupq_n_f32(x);
    return {v, v, v, v};
}
INLINE F f_zero() { return f_set1(0.0f); }
INLINE F f_load(const float* p) {
    return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
INLINE void f_store(float* p, F x) {
    vst1q_f32(p, x.a);
    vst1q_f32(p + 4, x.b);
    vst1q_f32(p + 8, x.c);
    vst1q_f32(p + 12, x.d);
}
INLINE F f_add(F x, F y) { return each<F>([](auto p, auto q) { return vaddq_f32(p, q); }, x, y); }
INLINE F f_sub(F x, F y) { return each<F>([](auto p, auto q) { return vsubq_f32(p, q); }, x, y); }
INLINE F f_mul(F x, F y) { return each<F>([](auto p, auto q) { return vmulq_f32(p, q); }, x, y); }
INLINE F f_div(F x, F y) { return each<F>([](auto p, auto q) { return vdivq_f32(p, q); }, x, y); }
INLINE F f_fma(F x, F y, F z) {
    return each<F>([](auto p, auto q, auto r) { return vfmaq_f32(r, p, q); }, x, y, z);
}
// Of two zeros, and where one is not a number, the second operand, unlike vmaxq_f32.
INLINE float32x4_t larger(float32x4_t p, float32x4_t q) { return vbslq_f32(vcgtq_f32(p, q), p, q); }
INLINE float32x4_t smaller(float32x4_t p, float32x4_t q) { return vbslq_f32(vcltq_f32(p, q), p, q); }
INLINE F f_max(F x, F y) { return each<F>([](auto p, auto q) { return larger(p, q); }, x, y); }
INLINE F f_min(F x, F y) { return each<F>([](auto p, auto q) { return smaller(p, q); }, x, y); }
INLINE F f_abs(F x) { return each<F>([](auto p) { return vabsq_f32(p); }, x); }
INLINE F f_round(F x) { return each<F>([](auto p) { return vrndnq_f32(p); }, x); }  // half to even
INLINE F f_where_lt(F p, F q, F x, F y) {
    return each<F>([](auto l, auto r, auto yes, auto no) { return vbslq_f32(vcltq_f32(l, r), yes, no); },
                   p, q, x, y);
}
INLINE F f_keep(F x, F y, int lo, int hi) {  // lanes [lo, hi) keep x, the others become y
    alignas(16) static constexpr int32_t first_lanes[4] = {0, 1, 2, 3};
    const int32x4_t from = vdupq_n_s32(lo), to = vdupq_n_s32(hi), first = vld1q_s32(first_lanes);
    const auto keep = [&](int lane0, float32x4_t p, float32x4_t q) {
        const int32x4_t lane = vaddq_s32(first, vdupq_n_s32(lane0));
        return vbslq_f32(vandq_u32(vcgeq_s32(lane, from), vcltq_s32(lane, to)), p, q);
    };
    return {keep(0, x.a, y.a), keep(4, x.b, y.b), keep(8, x.c, y.c), keep(12, x.d, y.d)};
}
INLINE F f_pow2(F n) {  // 2^n for integral n in [-126, 127]
    return each<F>([](auto p) {
        const int32x4_t e = vaddq_s32(vcvtq_s32_f32(p), vdupq_n_s32(127));
        return vreinterpretq_f32_s32(vshlq_n_s32(e, 23));
    }, n);
}
INLINE F f_scale(F x, F n) { return f_mul(x, f_pow2(n)); }
INLINE float f_sum(F x) {  // lane l with l + 8, l + 4, l + 2, l + 1
    const float32x4_t q = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
    const float32x2_t d = vadd_f32(vget_low_f32(q), vget_high_f32(q));
    return vget_lane_f32(d, 0) + vget_lane_f32(d, 1);
}
INLINE float f_hmax(F x) {
    return vmaxnmvq_f32(vmaxnmq_f32(vmaxnmq_f32(x.a, x.b), vmaxnmq_f32(x.c, x.d)));
}
INLINE F f_load_f16(const uint8_t* p) {
    const float16x8_t lo = vreinterpretq_f16_u8(vld1q_u8(p));
    const float16x8_t hi = vreinterpretq_f16_u8(vld1q_u8(p + 16));
    return {vcvt_f32_f16(vget_low_f16(lo)), vcvt_high_f32_f16(lo), vcvt_f32_f16(vget_low_f16(hi)),
            vcvt_high_f32_f16(hi)};
}
INLINE void f_store_f16(uint16_t* p, F x) {
    const float16x8_t lo = vcvt_high_f16_f32(vcvt_f16_f32(x.a), x.b);
    const float16x8_t hi = vcvt_high_f16_f32(vcvt_f16_f32(x.c), x.d);
    vst1q_u16(p, vreinterpretq_u16_f16(lo));
    vst1q_u16(p + 8, vreinterpretq_u16_f16(hi));
}
INLINE F f_load_bf16(const uint8_t* p) {  // a zero half below each value
    const uint16x8_t zero = vdupq_n_u16(0);
    const uint16x8_t lo = vreinterpretq_u16_u8(vld1q_u8(p));
    const uint16x8_t hi = vreinterpretq_u16_u8(vld1q_u8(p + 16));
    return {vreinterpretq_f32_u16(vzip1q_u16(zero, lo)), vreinterpretq_f32_u16(vzip2q_u16(zero, lo)),
            vreinterpretq_f32_u16(vzip1q_u16(zero, hi)), vreinterpretq_f32_u16(vzip2q_u16(zero, hi))};
}
INLINE F f_to_bf16(F x) {  // rounded to BF16, ties to even
    return each<F>([](auto p) {
        const uint32x4_t bits = vreinterpretq_u32_f32(p);
        const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
        const uint32x4_t up = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7FFF)), odd);
        const float32x4_t kept = vreinterpretq_f32_u32(vandq_u32(up, vdupq_n_u32(0xFFFF0000u)));
        return vbslq_f32(vceqq_f32(p, p), kept, p);
    }, x);
}
INLINE F f_load_e8m0_half(const uint8_t* p) {  // 2^(e - 128), subnormal for e < 2
    const uint8x16_t all = vld1q_u8(p);
    const uint16x8_t lo = vmovl_u8(vget_low_u8(all)), hi = vmovl_high_u8(all);
    const auto value = [](uint32x4_t e) {
        const uint32x4_t normal = vshlq_n_u32(vsubq_u32(e, vdupq_n_u32(1)), 23);
        const uint32x4_t tiny = vshlq_u32(vdupq_n_u32(0x00200000), vreinterpretq_s32_u32(e));
        return vreinterpretq_f32_u32(vbslq_u32(vcltq_u32(e, vdupq_n_u32(2)), tiny, normal));
    };
    return {value(vmovl_u16(vget_low_u16(lo))), value(vmovl_high_u16(lo)),
            value(vmovl_u16(vget_low_u16(hi))), value(vmovl_high_u16(hi))};
}
INLINE F widened(int8x16_t all) {
    const int16x8_t lo = vmovl_s8(vget_low_s8(all)), hi = vmovl_high_s8(all);
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(lo))), vcvtq_f32_s32(vmovl_high_s16(lo)),
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(hi))), vcvtq_f32_s32(vmovl_high_s16(hi))};
}
// 16 bytes as integers: unsigned, moved right and masked (mask < 128); or signed
INLINE F f_load_bits(const uint8_t* p, int right, int mask) {
    const uint8x16_t moved = vshlq_u8(vld1q_u8(p), vdupq_n_s8(static_cast<int8_t>(-right)));
    return widened(vreinterpretq_s8_u8(vandq_u8(moved, vdupq_n_u8(static_cast<uint8_t>(mask)))));
}
INLINE F f_load_i8(const uint8_t* p) { return widened(vreinterpretq_s8_u8(vld1q_u8(p))); }
INLINE I i_set1(int32_t x) {
    const int32x4_t v = vdupq_n_s32(x);
    return {v, v, v, v};
}
INLINE F i_to_f(I x) { return each<F>([](auto p) { return vcvtq_f32_s32(p); }, x); }
INLINE int32_t f_store_i8(int8_t* p, F integral) {  // returns the sum of the 16 integers
    const I q = each<I>([](auto x) { return vcvtq_s32_f32(x); }, integral);
    const int16x8_t lo = vcombine_s16(vmovn_s32(q.a), vmovn_s32(q.b));
    const int16x8_t hi = vcombine_s16(vmovn_s32(q.c), vmovn_s32(q.d));
    vst1q_s8(p, vcombine_s8(vmovn_s16(lo), vmovn_s16(hi)));
    return vaddvq_s32(vaddq_s32(vaddq_s32(q.a, q.b), vaddq_s32(q.c, q.d)));
}
INLINE B b_load(const uint8_t* p) {
    return {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)};
}
INLINE B b_low(B x) { return each<B>([](auto p) { return vandq_u8(p, vdupq_n_u8(15)); }, x); }
INLINE B b_high(B x) { return each<B>([](auto p) { return vshrq_n_u8(p, 4); }, x); }
INLINE B b_bias(B x) { return x; }  // signed weights stay signed here
INLINE B b_lookup(const uint8_t* table16, B codes) {
    const uint8x16_t table = vld1q_u8(table16);
    return each<B>([&](auto p) { return vqtbl1q_u8(table, p); }, codes);
}
// codes, raised by 16 where bit 4 g + j of word r is set, for byte 4 r + j
INLINE B b_or_fifth(B codes, B words, int g) {
    alignas(16) static constexpr uint8_t spread[16] = {0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12};
    const uint8x16_t byte = vaddq_u8(vld1q_u8(spread), vdupq_n_u8(static_cast<uint8_t>(g / 2)));
    const uint8x16_t bits = vreinterpretq_u8_u32(vdupq_n_u32(g % 2 ? 0x80402010u : 0x08040201u));
    return each<B>([&](auto code, auto word) {
        const uint8x16_t set = vtstq_u8(vqtbl1q_u8(word, byte), bits);
        return vorrq_u8(code, vandq_u8(set, vdupq_n_u8(16)));
    }, codes, words);
}
// bits of each byte, moved right by `right` (left where negative), then masked
INLINE B b_bits(B x, int right, int mask) {
    return each<B>([&](uint8x16_t p) {
        const uint8x16_t moved = right < 0 ? p << static_cast<uint8_t>(-right) : p >> static_cast<uint8_t>(right);
        return vandq_u8(moved, vdupq_n_u8(static_cast<uint8_t>(mask)));
    }, x);
}
INLINE B b_or(B x, B y) { return each<B>([](auto p, auto q) { return vorrq_u8(p, q); }, x, y); }
INLINE int8x16_t four_columns(const int8_t* a) {
    int32_t word;
    __builtin_memcpy(&word, a, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}
INLINE int32x4_t dot4(int32x4_t sum, uint8x16_t bytes, int8x16_t x) {
    const int8x16_t w = vreinterpretq_s8_u8(bytes);
#ifdef __ARM_FEATURE_DOTPROD
    return vdotq_s32(sum, w, x);
#else
    const int16x8_t lo = vmull_s8(vget_low_s8(w), vget_low_s8(x)), hi = vmull_high_s8(w, x);
    return vpadalq_s16(sum, vpaddq_s16(lo, hi));  // 128 * 127 * 2 < 2^15: exact
#endif
}
INLINE I dot_s8(I acc, B w, const int8_t* a) {
    const int8x16_t x = four_columns(a);
    return each<I>([&](auto sum, auto bytes) { return dot4(sum, bytes, x); }, acc, w);
}
INLINE I dot_u8(I acc, B w, const int8_t* a) { return dot_s8(acc, w, a); }  // w < 128 in every type
INLINE void prefetch(const void* p) { __builtin_prefetch(p); }
INLINE void prefetch_l2(const void* p) { __builtin_prefetch(p, 0, 2); }
