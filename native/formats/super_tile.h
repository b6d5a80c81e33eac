// The kernel layout of super-blocks (numerics/super_tiles.py describes it), and the way back.
#pragma once
#include <array>
#include <cstring>

#include "formats/decode_super.h"
#include "formats/tile.h"

namespace ingle {

using Codes = std::array<uint8_t, 32>;  // of one of the eight blocks of a super-block

inline void set_pair(uint8_t* qs, int i, int code) {
    qs[i / 128 * 32 + i % 32] |= static_cast<uint8_t>(code << (i % 128 / 32 * 2));
}
inline void set_nibble(uint8_t* qs, int i, int code) {
    qs[i / 64 * 32 + i % 32] |= static_cast<uint8_t>(code << (i % 64 / 32 * 4));
}

// Two numbers of six bits for each block: low nibbles in byte b, high pairs in byte 8 + b / 2.
inline void set_six_bits(uint8_t* subs, int b, int first, int second) {
    subs[b] = static_cast<uint8_t>((first & 15) | (second & 15) << 4);
    subs[8 + b / 2] |= static_cast<uint8_t>((first >> 4 | second >> 4 << 2) << (b % 2 * 4));
}
inline ScaleAndMin six_bits(const uint8_t* subs, int b) {
    const int high = subs[8 + b / 2] >> (b % 2 * 4);
    return {(subs[b] & 15) | (high & 3) << 4, subs[b] >> 4 | (high >> 2 & 3) << 4};
}

// Of each type: its planes; raw codes; bytes of sub-scales as tiles have them.
template <class Block>
struct Super;

template <>
struct Super<BlockQ4_K> {
    static constexpr int kNibbles = 1, kPairs = 0, kBits = 0, kPairShift = 0, kBitShift = 0;
    static constexpr int kSubBytes = 12;
    static int code(const BlockQ4_K& x, int i) { return nibble_code(x.qs, i); }
    static void set_code(BlockQ4_K& x, int i, int code) { set_nibble(x.qs, i, code); }
    static void subs(const auto& x, uint8_t* to) {
        for (int b = 0; b < 8; ++b) {
            const ScaleAndMin q = scale_and_min(x.scales, b);
            set_six_bits(to, b, q.scale, q.min);
        }
    }
    static void set_subs(auto& x, const uint8_t* from) {
        for (int b = 0; b < 4; ++b) {
            const ScaleAndMin low = six_bits(from, b), high = six_bits(from, b + 4);
            x.scales[b] = static_cast<uint8_t>(low.scale | high.scale >> 4 << 6);
            x.scales[b + 4] = static_cast<uint8_t>(low.min | high.min >> 4 << 6);
            x.scales[b + 8] = static_cast<uint8_t>((high.scale & 15) | (high.min & 15) << 4);
        }
    }
};

template <>
struct Super<BlockQ5_K> : Super<BlockQ4_K> {
    static constexpr int kBits = 1, kBitShift = 4;
    static int code(const BlockQ5_K& x, int i) {
        return nibble_code(x.qs, i) | (x.qh[i % 32] >> i / 32 & 1) << 4;
    }
    static void set_code(BlockQ5_K& x, int i, int code) {
        set_nibble(x.qs, i, code & 15);
        x.qh[i % 32] |= static_cast<uint8_t>(code >> 4 << i / 32);
    }
};

template <>
struct Super<BlockQ6_K> {
    static constexpr int kNibbles = 1, kPairs = 1, kBits = 0, kPairShift = 4, kBitShift = 0;
    static constexpr int kSubBytes = 16;
    static int code(const BlockQ6_K& x, int i) {
        const int low = x.ql[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
        return low | pair_code(x.qh, i) << 4;
    }
    static void set_code(BlockQ6_K& x, int i, int code) {
        x.ql[i / 128 * 64 + i % 64] |= static_cast<uint8_t>((code & 15) << (i % 128 / 64 * 4));
        set_pair(x.qh, i, code >> 4);
    }
    static void subs(const BlockQ6_K& x, uint8_t* to) { std::memcpy(to, x.scales, 16); }
    static void set_subs(BlockQ6_K& x, const uint8_t* from) { std::memcpy(x.scales, from, 16); }
};

template <>
struct Super<BlockQ3_K> {
    static constexpr int kNibbles = 0, kPairs = 1, kBits = 1, kPairShift = 0, kBitShift = 2;
    static constexpr int kSubBytes = 12;
    static int code(const BlockQ3_K& x, int i) {
        return pair_code(x.qs, i) | (x.hmask[i % 32] >> i / 32 & 1) << 2;
    }
    static void set_code(BlockQ3_K& x, int i, int code) {
        set_pair(x.qs, i, code & 3);
        x.hmask[i % 32] |= static_cast<uint8_t>(code >> 2 << i / 32);
    }
    static void subs(const BlockQ3_K& x, uint8_t* to) {
        for (int b = 0; b < 8; ++b)
            set_six_bits(to, b, q3_scale(x.scales, 2 * b) + 32, q3_scale(x.scales, 2 * b + 1) + 32);
    }
    static void set_subs(BlockQ3_K& x, const uint8_t* from) {
        for (int b = 0; b < 16; ++b) {
            const ScaleAndMin both = six_bits(from, b / 2);
            const int scale = b % 2 ? both.min : both.scale;
            x.scales[b % 8] |= static_cast<uint8_t>((scale & 15) << (b / 8 * 4));
            x.scales[8 + b % 4] |= static_cast<uint8_t>(scale >> 4 << (b / 4 * 2));
        }
    }
};

template <>
struct Super<BlockQ2_K> {
    static constexpr int kNibbles = 0, kPairs = 1, kBits = 0, kPairShift = 0, kBitShift = 0;
    static constexpr int kSubBytes = 16;
    static int code(const BlockQ2_K& x, int i) { return pair_code(x.qs, i); }
    static void set_code(BlockQ2_K& x, int i, int code) { set_pair(x.qs, i, code); }
    static void subs(const BlockQ2_K& x, uint8_t* to) { std::memcpy(to, x.scales, 16); }
    static void set_subs(BlockQ2_K& x, const uint8_t* from) { std::memcpy(x.scales, from, 16); }
};

template <>
struct Super<BlockIQ4_XS> {
    static constexpr int kNibbles = 1, kPairs = 0, kBits = 0, kPairShift = 0, kBitShift = 0;
    static constexpr int kSubBytes = 6;
    static int code(const BlockIQ4_XS& x, int i) {
        return x.qs[i / 32 * 16 + i % 16] >> (i % 32 / 16 * 4) & 15;
    }
    static void set_code(BlockIQ4_XS& x, int i, int code) {
        x.qs[i / 32 * 16 + i % 16] |= static_cast<uint8_t>(code << (i % 32 / 16 * 4));
    }
    static void subs(const BlockIQ4_XS& x, uint8_t* to) {
        std::memcpy(to, x.scales_l, 4);
        std::memcpy(to + 4, x.scales_h, 2);
    }
    static void set_subs(BlockIQ4_XS& x, const uint8_t* from) {
        std::memcpy(x.scales_l, from, 4);
        std::memcpy(x.scales_h, from + 4, 2);
    }
};

// Where the bytes of one row and super-block lie in a tile of `supers` super-blocks.
template <class Block>
struct SuperPlaces {
    using S = Super<Block>;
    static constexpr bool kMinima = requires(Block block) { block.dmin; };
    static constexpr size_t kQuants = 16 * S::kNibbles + 8 * S::kPairs + 4 * S::kBits;  // per block
    static constexpr size_t kSubs = S::kSubBytes + (kMinima ? 4 : 2);
    static_assert(8 * kQuants + kSubs == sizeof(Block));

    static size_t quants(size_t super, int block, size_t row) {
        return (super * 8 + static_cast<size_t>(block)) * kQuants * kRowsOfTile + row * kGroupBytes;
    }
    static size_t subs(size_t supers, size_t super) {
        return (supers * 8 * kQuants + super * kSubs) * kRowsOfTile;
    }
    static size_t scale(size_t supers, size_t super, size_t row) {
        return subs(supers, super) + S::kSubBytes * kRowsOfTile + row * sizeof(F16);
    }
};

// A block's quants as one row has them, planes after each other: nibbles, pairs, bits.
template <class S>
void join_planes(const Codes& code, uint8_t* quants) {
    if constexpr (S::kNibbles) {
        for (int i = 0; i < 16; ++i)
            quants[i] = static_cast<uint8_t>((code[i] & 15) | code[16 + i] << 4);
        quants += 16;
    }
    if constexpr (S::kPairs) {
        for (int i = 0; i < 8; ++i) {
            quants[i] = 0;
            for (int f = 0; f < 4; ++f)
                quants[i] |= static_cast<uint8_t>((code[i / 4 * 16 + 4 * f + i % 4] >> S::kPairShift & 3) << 2 * f);
        }
        quants += 8;
    }
    if constexpr (S::kBits)
        for (int j = 0; j < 4; ++j) {
            quants[j] = 0;
            for (int g = 0; g < 8; ++g)
                quants[j] |= static_cast<uint8_t>((code[4 * g + j] >> S::kBitShift & 1) << g);
        }
}

template <class S>
Codes split_planes(const uint8_t* quants) {
    Codes code{};
    for (int i = 0; i < 32; ++i) {
        const uint8_t* at = quants;
        int value = 0;
        if constexpr (S::kNibbles) {
            value = at[i % 16] >> i / 16 * 4 & 15;
            at += 16;
        }
        if constexpr (S::kPairs) {
            value |= (at[i / 16 * 4 + i % 4] >> i % 16 / 4 * 2 & 3) << S::kPairShift;
            at += 8;
        }
        if constexpr (S::kBits) value |= (at[i % 4] >> i / 4 & 1) << S::kBitShift;
        code[i] = static_cast<uint8_t>(value);
    }
    return code;
}

template <class Block>
void pack_super_tile(const uint8_t* rows, size_t num_rows, size_t row_bytes, size_t supers,
                     uint8_t* tile) {
    using S = Super<Block>;
    using Places = SuperPlaces<Block>;
    if (num_rows < kRowsOfTile) std::memset(tile, 0, kRowsOfTile * supers * sizeof(Block));
    for (size_t r = 0; r < num_rows; ++r)
        for (size_t s = 0; s < supers; ++s) {
            const Block& block = reinterpret_cast<const Block*>(rows + r * row_bytes)[s];
            for (int b = 0; b < 8; ++b) {
                Codes code;
                uint8_t quants[Places::kQuants];
                for (int i = 0; i < 32; ++i)
                    code[i] = static_cast<uint8_t>(S::code(block, 32 * b + i));
                join_planes<S>(code, quants);
                for (size_t i = 0; i < Places::kQuants; i += kGroupBytes)
                    std::memcpy(tile + Places::quants(s, b, r) + i * kRowsOfTile, quants + i, kGroupBytes);
            }
            uint8_t subs[S::kSubBytes] = {};
            S::subs(block, subs);
            for (size_t i = 0; i < S::kSubBytes; ++i)
                tile[Places::subs(supers, s) + i * kRowsOfTile + r] = subs[i];
            uint8_t* scale = tile + Places::scale(supers, s, r);
            std::memcpy(scale, &block.d, sizeof(F16));
            if constexpr (Places::kMinima)
                std::memcpy(scale + kRowsOfTile * sizeof(F16), &block.dmin, sizeof(F16));
        }
}

// The super-block of a row, as it was before packing.
template <class Block>
Block super_block_of(const uint8_t* tile, size_t row, size_t supers, size_t super) {
    using S = Super<Block>;
    using Places = SuperPlaces<Block>;
    Block block;
    std::memset(&block, 0, sizeof(Block));
    for (int b = 0; b < 8; ++b) {
        uint8_t quants[Places::kQuants];
        for (size_t i = 0; i < Places::kQuants; i += kGroupBytes)
            std::memcpy(quants + i, tile + Places::quants(super, b, row) + i * kRowsOfTile, kGroupBytes);
        const Codes code = split_planes<S>(quants);
        for (int i = 0; i < 32; ++i) S::set_code(block, 32 * b + i, code[i]);
    }
    uint8_t subs[S::kSubBytes];
    for (size_t i = 0; i < S::kSubBytes; ++i)
        subs[i] = tile[Places::subs(supers, super) + i * kRowsOfTile + row];
    S::set_subs(block, subs);
    const uint8_t* scale = tile + Places::scale(supers, super, row);
    std::memcpy(&block.d, scale, sizeof(F16));
    if constexpr (Places::kMinima)
        std::memcpy(&block.dmin, scale + kRowsOfTile * sizeof(F16), sizeof(F16));
    return block;
}

// out[0 .. 256 supers) = one row of a tile, decoded
template <class Block>
void decode_super_row(const uint8_t* tile, size_t row, size_t supers, float* out) {
    for (size_t s = 0; s < supers; ++s)
        decode_block(super_block_of<Block>(tile, row, supers, s), out + 256 * s);
}

}  // namespace ingle
