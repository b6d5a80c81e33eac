// The number formats by name, and what can be done with whole rows of them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace ingle {

// blocks * block_bytes bytes -> blocks * block floats, bit for bit those of numerics/*.py
using DecodeBlocks = void(const uint8_t* data, size_t blocks, float* out);

// At most 16 rows, row_bytes apart -> one tile of 16 * blocks * block_bytes bytes
using PackTile = void(const uint8_t* rows, size_t num_rows, size_t row_bytes, size_t blocks,
                      uint8_t* tile);

struct FormatEntry {
    const char* name;
    size_t block;        // weights per block
    size_t block_bytes;  // bytes per block
    DecodeBlocks* decode;
    PackTile* pack_tile;  // null when the format has no tiles of its own
};

std::span<const FormatEntry> all_formats();
const FormatEntry* find_format(std::string_view name);  // null when unknown

}  // namespace ingle
