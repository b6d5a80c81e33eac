// The weight types of 256-column super-blocks, seen as eight blocks of 32 columns. Included inside a
// kernel namespace, after block_types.inl.h.
//
// A tile is 16 rows: the quants of all blocks, then for each super-block the bytes of its sub-scales
// (byte k of 16 rows side by side), its 16 scales and, for affine types, its 16 scales of minima.
// Quants come in planes: nibbles (256 bytes), pairs of bits (128), single bits (64).

// Pairs: byte 4r + j of register `half` holds column 16 half + 4g + j of row r at bit 2g.
INLINE B pair_plane(const uint8_t* plane, int half) { return b_load(plane + 64 * half); }

// Where the parts of a super-block's scales are; kSubBytes: of sub-scales, per row.
template <int kSubBytes, bool kMinima>
struct SuperScales {
    static constexpr bool kAffine = kMinima;
    static INLINE const uint8_t* subs(const uint8_t* parts, int64_t b) {
        return parts + b / 8 * (kTileRows * (kSubBytes + (kMinima ? 4 : 2)));
    }
    static INLINE F d(const uint8_t* subs) { return f_load_f16(subs + kTileRows * kSubBytes); }
    static INLINE F dmin(const uint8_t* subs) {
        return f_load_f16(subs + kTileRows * (kSubBytes + 2));
    }
};

// Two numbers of six bits for each block: low nibbles in byte b, high pairs in byte 8 + b / 2.
INLINE F six_bits(const uint8_t* subs, int b, int which) {
    const F low = f_load_bits(subs + kTileRows * b, 4 * which, 15);
    const F high = f_load_bits(subs + kTileRows * (8 + b / 2), 4 * (b % 2) + 2 * which, 3);
    return f_fma(high, f_set1(16.0f), low);
}

struct TypeQ4_K : SuperScales<12, true> {
    static constexpr int kQuantBytes = 256;
    static constexpr bool kSigned = false, kHalves = false;
    static constexpr int kOffset = 0;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        nibble_groups(p, g, low, high);
    }
    static INLINE F scale(const uint8_t* parts, int64_t b, int) {
        const uint8_t* s = subs(parts, b);
        return f_mul(d(s), six_bits(s, b % 8, 0));
    }
    static INLINE F minimum(const uint8_t* parts, int64_t, int64_t b, int) {
        const uint8_t* s = subs(parts, b);
        return f_mul(dmin(s), f_sub(f_zero(), six_bits(s, b % 8, 1)));
    }
};

struct TypeQ5_K : TypeQ4_K {  // bit g of byte 4r + j: the fifth of column 4g + j
    static constexpr int kQuantBytes = 320;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        nibble_groups(p, g, low, high);
        const B fifth = b_load(p + 256);
        low = b_or(low, b_bits(fifth, g - 4, 16));
        high = b_or(high, b_bits(fifth, g, 16));
    }
};

struct TypeIQ4_XS : SuperScales<6, false> {
    static constexpr int kQuantBytes = 256;
    static constexpr bool kSigned = true, kHalves = false;
    static constexpr int kOffset = TypeIQ4_NL::kOffset;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        TypeIQ4_NL::groups(p, g, low, high);
    }
    static INLINE F scale(const uint8_t* parts, int64_t b, int) {
        const uint8_t* s = subs(parts, b);
        const F low = f_load_bits(s + kTileRows * (b % 8 / 2), 4 * (b % 2), 15);
        const F high = f_load_bits(s + kTileRows * (4 + b % 8 / 4), 2 * (b % 4), 3);
        return f_mul(d(s), f_sub(f_fma(high, f_set1(16.0f), low), f_set1(32.0f)));
    }
    static INLINE F minimum(const uint8_t*, int64_t, int64_t, int) { return f_zero(); }
};

struct TypeQ6_K : SuperScales<16, false> {  // pairs: the two high bits
    static constexpr int kQuantBytes = 384;
    static constexpr bool kSigned = false, kHalves = true;
    static constexpr int kOffset = 32;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        nibble_groups(p, g, low, high);
        low = b_or(low, b_bits(pair_plane(p + 256, 0), 2 * g - 4, 48));
        high = b_or(high, b_bits(pair_plane(p + 256, 1), 2 * g - 4, 48));
    }
    static INLINE F scale(const uint8_t* parts, int64_t b, int half) {
        const uint8_t* s = subs(parts, b);
        return f_mul(d(s), f_load_i8(s + kTileRows * (2 * (b % 8) + half)));
    }
    static INLINE F minimum(const uint8_t*, int64_t, int64_t, int) { return f_zero(); }
};

struct TypeQ3_K : SuperScales<12, false> {  // pairs, then bit g of byte 4r + j: the third of 4g + j
    static constexpr int kQuantBytes = 192;
    static constexpr bool kSigned = false, kHalves = true;
    static constexpr int kOffset = 4;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        const B third = b_load(p + 128);
        low = b_or(b_bits(pair_plane(p, 0), 2 * g, 3), b_bits(third, g - 2, 4));
        high = b_or(b_bits(pair_plane(p, 1), 2 * g, 3), b_bits(third, g + 2, 4));
    }
    static INLINE F scale(const uint8_t* parts, int64_t b, int half) {
        const uint8_t* s = subs(parts, b);
        return f_mul(d(s), f_sub(six_bits(s, b % 8, half), f_set1(32.0f)));
    }
    static INLINE F minimum(const uint8_t*, int64_t, int64_t, int) { return f_zero(); }
};

struct TypeQ2_K : SuperScales<16, true> {
    static constexpr int kQuantBytes = 128;
    static constexpr bool kSigned = false, kHalves = true;
    static constexpr int kOffset = 0;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        low = b_bits(pair_plane(p, 0), 2 * g, 3);
        high = b_bits(pair_plane(p, 1), 2 * g, 3);
    }
    static INLINE F scale(const uint8_t* parts, int64_t b, int half) {
        const uint8_t* s = subs(parts, b);
        return f_mul(d(s), f_load_bits(s + kTileRows * (2 * (b % 8) + half), 0, 15));
    }
    static INLINE F minimum(const uint8_t* parts, int64_t, int64_t b, int half) {
        const uint8_t* s = subs(parts, b);
        const F level = f_load_bits(s + kTileRows * (2 * (b % 8) + half), 4, 15);
        return f_mul(dmin(s), f_sub(f_zero(), level));
    }
};
