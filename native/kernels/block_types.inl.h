// The weight types of 32-column blocks. Included inside a kernel namespace.
//
// A tile is 16 rows: the quants of all blocks, then the scales of all blocks, then the minima. A type
// says how codes become bytes (`kOffset` too large, or signed) and where its scales are:
//   kHalves   columns 0-15 and 16-31 of a block have scales (and minima) of their own
//   scale(parts, b, half), minimum(parts, blocks, b, half): of 16 rows; minima are added

constexpr int kGroups = 8;  // groups of 4 columns in a block, one 64-byte register each

// A type gives groups g and g + 4 of a block, g < 4: the low and the high nibbles of the same bytes.
INLINE void nibble_groups(const uint8_t* quants, int g, B& low, B& high) {
    const B both = b_load(quants + 64 * g);
    low = b_low(both);
    high = b_high(both);
}

#ifndef INGLE_NIBBLE_LOOKUP
INLINE void b_lookup_nibbles(const uint8_t* table16, B both, B& low, B& high) {
    low = b_lookup(table16, b_low(both));
    high = b_lookup(table16, b_high(both));
}
#endif

// Scales, then minima: `parts` is what follows the quants.
struct ScalesF16 {
    static constexpr bool kAffine = false, kHalves = false;
    static INLINE F scale(const uint8_t* parts, int64_t b, int) { return f_load_f16(parts + 32 * b); }
    static INLINE F minimum(const uint8_t* parts, int64_t blocks, int64_t b, int) {
        return f_load_f16(parts + 32 * (blocks + b));
    }
};

struct TypeQ8_0 : ScalesF16 {
    static constexpr int kQuantBytes = 512;
    static constexpr bool kSigned = true;
    static constexpr int kOffset = kBiasedSigned ? 128 : 0;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        low = b_bias(b_load(p + 64 * g));
        high = b_bias(b_load(p + 64 * (g + 4)));
    }
};

struct TypeQ4_0 : ScalesF16 {
    static constexpr int kQuantBytes = 256;
    static constexpr bool kSigned = false;
    static constexpr int kOffset = 8;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        nibble_groups(p, g, low, high);
    }
};

struct TypeQ4_1 : TypeQ4_0 {
    static constexpr bool kAffine = true;
    static constexpr int kOffset = 0;
};

struct TypeQ5_0 : ScalesF16 {  // nibbles, then for each row 32 fifth bits
    static constexpr int kQuantBytes = 320;
    static constexpr bool kSigned = false;
    static constexpr int kOffset = 16;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        nibble_groups(p, g, low, high);
        const B fifth = b_load(p + 256);
        low = b_or_fifth(low, fifth, g);
        high = b_or_fifth(high, fifth, g + 4);
    }
};

struct TypeQ5_1 : TypeQ5_0 {
    static constexpr bool kAffine = true;
    static constexpr int kOffset = 0;
};

struct TypeQ6_0 : ScalesF16 {  // nibbles, then high pairs: columns 4g + j of a block in byte 4(g % 2) + j
    static constexpr int kQuantBytes = 384;
    static constexpr bool kSigned = false;
    static constexpr int kOffset = 32;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        nibble_groups(p, g, low, high);
        const B pairs = b_load(p + 256 + 64 * (g % 2));
        low = b_or(low, b_bits(pairs, g / 2 * 4 - 4, 48));
        high = b_or(high, b_bits(pairs, g / 2 * 4 - 2, 48));
    }
};

struct LookupTable16 {
    uint8_t at[16];
};
constexpr LookupTable16 iq4_table(int offset) {
    constexpr int values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
    LookupTable16 table{};
    for (int i = 0; i < 16; ++i) table.at[i] = static_cast<uint8_t>(values[i] + offset);
    return table;
}

struct TypeIQ4_NL : TypeQ4_0 {
    static constexpr bool kSigned = true;
    static constexpr int kOffset = kBiasedSigned ? 128 : 0;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        alignas(16) static constexpr LookupTable16 table = iq4_table(kOffset);  // biased where the product wants it
        b_lookup_nibbles(table.at, b_load(p + 64 * g), low, high);
    }
};

struct TypeMXFP4 {  // doubled E2M1 values, raised by 12 to stay unsigned; scale 2^(e - 128)
    static constexpr int kQuantBytes = 256;
    static constexpr bool kSigned = false, kAffine = false, kHalves = false;
    static constexpr int kOffset = 12;
    static INLINE void groups(const uint8_t* p, int g, B& low, B& high) {
        alignas(16) static constexpr uint8_t table[16] = {12, 13, 14, 15, 16, 18, 20, 24,
                                                          12, 11, 10, 9, 8, 6, 4, 0};
        b_lookup_nibbles(table, b_load(p + 64 * g), low, high);
    }
    static INLINE F scale(const uint8_t* parts, int64_t b, int) {
        return f_load_e8m0_half(parts + 16 * b);
    }
};
