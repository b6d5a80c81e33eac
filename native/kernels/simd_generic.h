// Sixteen lanes as plain arrays: the portable instruction set and the reference of the others.
// fmaf is correctly rounded with or without the instruction, so the results are the same bits.
struct F { float v[16]; };
struct I { int32_t v[16]; };
struct B { uint8_t v[64]; };  // 16 rows x 4 columns of weights

constexpr bool kBiasedSigned = false, kMayHaveBf16Products = false, kMayHaveByteLookup = false;
constexpr int kTilesTogether = 1, kMaxColumns = 4;
constexpr int kTileQueries = 1, kTileVectors = 1;

#define LANES(expr) F r; for (int i = 0; i < 16; ++i) r.v[i] = (expr); return r
INLINE F f_set1(float x) { LANES(x); }
INLINE F f_zero() { return f_set1(0.0f); }
INLINE F f_load(const float* p) { LANES(p[i]); }
INLINE void f_store(float* p, F x) { for (int i = 0; i < 16; ++i) p[i] = x.v[i]; }
INLINE F f_add(F x, F y) { LANES(x.v[i] + y.v[i]); }
INLINE F f_sub(F x, F y) { LANES(x.v[i] - y.v[i]); }
INLINE F f_mul(F x, F y) { LANES(x.v[i] * y.v[i]); }
INLINE F f_div(F x, F y) { LANES(x.v[i] / y.v[i]); }
INLINE F f_fma(F x, F y, F z) { LANES(__builtin_fmaf(x.v[i], y.v[i], z.v[i])); }
INLINE F f_max(F x, F y) { LANES(x.v[i] > y.v[i] ? x.v[i] : y.v[i]); }
INLINE F f_min(F x, F y) { LANES(x.v[i] < y.v[i] ? x.v[i] : y.v[i]); }
INLINE F f_abs(F x) { LANES(__builtin_fabsf(x.v[i])); }
INLINE F f_round(F x) { LANES(__builtin_rintf(x.v[i])); }
INLINE F f_where_lt(F p, F q, F x, F y) { LANES(p.v[i] < q.v[i] ? x.v[i] : y.v[i]); }
INLINE F f_keep(F x, F y, int lo, int hi) { LANES(i >= lo && i < hi ? x.v[i] : y.v[i]); }
INLINE float f_from_bits(uint32_t bits) {
    float x;
    __builtin_memcpy(&x, &bits, 4);
    return x;
}
INLINE F f_pow2(F n) {
    LANES(f_from_bits(static_cast<uint32_t>(static_cast<int32_t>(n.v[i]) + 127) << 23));
}
INLINE F f_scale(F x, F n) { return f_mul(x, f_pow2(n)); }
INLINE float f_sum(F x) {
    for (int half = 8; half >= 1; half /= 2)
        for (int i = 0; i < half; ++i) x.v[i] += x.v[i + half];
    return x.v[0];
}
INLINE float f_hmax(F x) {
    float m = x.v[0];
    for (int i = 1; i < 16; ++i) m = m < x.v[i] ? x.v[i] : m;
    return m;
}
INLINE float f16_value(const uint8_t* p) {  // IEEE binary16, exact
    const uint32_t h = p[0] | static_cast<uint32_t>(p[1]) << 8;
    const uint32_t sign = (h & 0x8000u) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 31) return f_from_bits(sign | 0x7F800000u | mantissa << 13);
    if (exponent == 0) {
        const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return f_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}
INLINE F f_load_f16(const uint8_t* p) { LANES(f16_value(p + 2 * i)); }
INLINE uint16_t f16_bits(float x) {  // IEEE binary16, ties to even; |x| at most 65504
    uint32_t bits;
    __builtin_memcpy(&bits, &x, 4);
    const uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    if (magnitude < 0x38800000u)  // subnormal: a count of 2^-24
        return static_cast<uint16_t>(sign | static_cast<uint32_t>(__builtin_rintf(__builtin_fabsf(x) * 0x1p24f)));
    const uint32_t rebased = magnitude - (112u << 23);
    return static_cast<uint16_t>(sign | (rebased + 0xFFFu + (rebased >> 13 & 1u)) >> 13);
}
INLINE void f_store_f16(uint16_t* p, F x) {
    for (int i = 0; i < 16; ++i) p[i] = f16_bits(x.v[i]);
}
INLINE F f_load_bf16(const uint8_t* p) {
    LANES(f_from_bits(static_cast<uint32_t>(p[2 * i]) << 16 | static_cast<uint32_t>(p[2 * i + 1]) << 24));
}
// rounded to BF16, ties to even
INLINE float bf16_rounded(float x) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, 4);
    return x != x ? x : f_from_bits((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000u);
}
INLINE F f_to_bf16(F x) { LANES(bf16_rounded(x.v[i])); }
INLINE F f_load_e8m0_half(const uint8_t* p) {  // 2^(e - 128), subnormal for e < 2
    LANES(f_from_bits(p[i] < 2 ? 0x00200000u << p[i] : static_cast<uint32_t>(p[i] - 1) << 23));
}
// 16 bytes as integers: unsigned, moved right and masked; or signed
INLINE F f_load_bits(const uint8_t* p, int right, int mask) {
    LANES(static_cast<float>(p[i] >> right & mask));
}
INLINE F f_load_i8(const uint8_t* p) { LANES(static_cast<float>(static_cast<int8_t>(p[i]))); }
#undef LANES
INLINE I i_set1(int32_t x) {
    I r;
    for (int i = 0; i < 16; ++i) r.v[i] = x;
    return r;
}
INLINE F i_to_f(I x) {
    F r;
    for (int i = 0; i < 16; ++i) r.v[i] = static_cast<float>(x.v[i]);
    return r;
}
INLINE int32_t f_store_i8(int8_t* p, F integral) {
    int32_t sum = 0;
    for (int i = 0; i < 16; ++i) {
        p[i] = static_cast<int8_t>(integral.v[i]);
        sum += p[i];
    }
    return sum;
}
#define BYTES(expr) B r; for (int i = 0; i < 64; ++i) r.v[i] = static_cast<uint8_t>(expr); return r
INLINE B b_load(const uint8_t* p) { BYTES(p[i]); }
INLINE B b_low(B x) { BYTES(x.v[i] & 15); }
INLINE B b_high(B x) { BYTES(x.v[i] >> 4); }
INLINE B b_bias(B x) { return x; }
// codes, raised by 16 where bit 4 g + j of word r is set, for byte 4 r + j
INLINE B b_or_fifth(B codes, B words, int g) {
    BYTES(codes.v[i] | (words.v[i / 4 * 4 + g / 2] >> (g % 2 * 4 + i % 4) & 1) << 4);
}
INLINE B b_lookup(const uint8_t* table16, B codes) { BYTES(table16[codes.v[i]]); }
// bits of each byte, moved right by `right` (left where negative), then masked
INLINE B b_bits(B x, int right, int mask) {
    BYTES((right < 0 ? x.v[i] << -right : x.v[i] >> right) & mask);
}
INLINE B b_or(B x, B y) { BYTES(x.v[i] | y.v[i]); }
#undef BYTES
INLINE I dot_u8(I acc, B w, const int8_t* a) {
    for (int r = 0; r < 16; ++r)
        for (int j = 0; j < 4; ++j) acc.v[r] += w.v[4 * r + j] * a[j];
    return acc;
}
INLINE I dot_s8(I acc, B w, const int8_t* a) {
    for (int r = 0; r < 16; ++r)
        for (int j = 0; j < 4; ++j) acc.v[r] += static_cast<int8_t>(w.v[4 * r + j]) * a[j];
    return acc;
}
INLINE void prefetch(const void*) {}
INLINE void prefetch_l2(const void*) {}
