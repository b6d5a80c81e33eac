// The kernel layout: 16 rows of blocks reordered into one tile (numerics/tiles.py describes it).
#pragma once
#include <cstring>

#include "formats/blocks.h"

namespace ingle {

constexpr size_t kRowsOfTile = 16;
constexpr size_t kGroupBytes = 4;  // bytes of codes that stay together

// All codes of a block column lie together, then all scales, then all minimums. Rows past
// num_rows become zero bytes.
template <class Block>
void pack_block_tile(const uint8_t* rows, size_t num_rows, size_t row_bytes, size_t blocks,
                     uint8_t* tile) {
    constexpr bool kHasHigh = requires(Block block) { block.qh; };  // bits above the fourth
    constexpr bool kHasMin = requires(Block block) { block.m; };
    constexpr size_t kCodes = kRowsOfTile * sizeof(Block::qs);
    size_t stride = kCodes;
    if constexpr (kHasHigh) stride += kRowsOfTile * sizeof(Block::qh);
    uint8_t* scales = tile + blocks * stride;
    [[maybe_unused]] uint8_t* mins = scales + blocks * kRowsOfTile * sizeof(Block::d);
    if (num_rows < kRowsOfTile) std::memset(tile, 0, kRowsOfTile * blocks * sizeof(Block));
    for (size_t b = 0; b < blocks; ++b) {
        for (size_t r = 0; r < num_rows; ++r) {
            const Block& block = reinterpret_cast<const Block*>(rows + r * row_bytes)[b];
            const uint8_t* codes = reinterpret_cast<const uint8_t*>(block.qs);
            uint8_t* group = tile + b * stride + r * kGroupBytes;
            for (size_t i = 0; i < sizeof(Block::qs); i += kGroupBytes)
                std::memcpy(group + i * kRowsOfTile, codes + i, kGroupBytes);
            const size_t lane = b * kRowsOfTile + r;
            if constexpr (kHasHigh)
                for (size_t i = 0; i < sizeof(Block::qh); i += kGroupBytes)
                    std::memcpy(group + kCodes + i * kRowsOfTile, block.qh + i, kGroupBytes);
            std::memcpy(scales + lane * sizeof(Block::d), &block.d, sizeof(Block::d));
            if constexpr (kHasMin) std::memcpy(mins + lane * sizeof(F16), &block.m, sizeof(F16));
        }
    }
}

// Floats lie column after column.
template <class Block>
void pack_float_tile(const uint8_t* rows, size_t num_rows, size_t row_bytes, size_t columns,
                     uint8_t* tile) {
    constexpr size_t kBytes = sizeof(Block);
    if (num_rows < kRowsOfTile) std::memset(tile, 0, kRowsOfTile * columns * kBytes);
    for (size_t c = 0; c < columns; ++c)
        for (size_t r = 0; r < num_rows; ++r)
            std::memcpy(tile + (c * kRowsOfTile + r) * kBytes, rows + r * row_bytes + c * kBytes,
                        kBytes);
}

}  // namespace ingle
