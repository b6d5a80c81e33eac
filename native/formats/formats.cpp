#include "formats/formats.h"

#include "formats/decode_small.h"
#include "formats/decode_super.h"
#include "formats/super_tile.h"
#include "formats/tile.h"

namespace ingle {
namespace {

template <class Block>
void decode_blocks(const uint8_t* data, size_t blocks, float* out) {
    const Block* block = reinterpret_cast<const Block*>(data);
    for (size_t b = 0; b < blocks; ++b) decode_block(block[b], out + b * Block::kWeights);
}

template <class Block>
constexpr FormatEntry entry(const char* name, PackTile* pack_tile = nullptr) {
    return {name, Block::kWeights, sizeof(Block), decode_blocks<Block>, pack_tile};
}

constexpr FormatEntry kFormats[] = {
    entry<BlockF32>("F32", pack_float_tile<BlockF32>),
    entry<BlockF16>("F16", pack_float_tile<BlockF16>),
    entry<BlockBF16>("BF16", pack_float_tile<BlockBF16>),
    entry<BlockQ8_0>("Q8_0", pack_block_tile<BlockQ8_0>),
    entry<BlockQ4_0>("Q4_0", pack_block_tile<BlockQ4_0>),
    entry<BlockQ4_1>("Q4_1", pack_block_tile<BlockQ4_1>),
    entry<BlockQ5_0>("Q5_0", pack_block_tile<BlockQ5_0>),
    entry<BlockQ5_1>("Q5_1", pack_block_tile<BlockQ5_1>),
    entry<BlockQ6_0>("Q6_0", pack_block_tile<BlockQ6_0>),
    entry<BlockIQ4_NL>("IQ4_NL", pack_block_tile<BlockIQ4_NL>),
    entry<BlockMXFP4>("MXFP4", pack_block_tile<BlockMXFP4>),
    entry<BlockNVFP4>("NVFP4"),
    entry<BlockIQ4_XS>("IQ4_XS", pack_super_tile<BlockIQ4_XS>),
    entry<BlockQ2_K>("Q2_K", pack_super_tile<BlockQ2_K>),
    entry<BlockQ3_K>("Q3_K", pack_super_tile<BlockQ3_K>),
    entry<BlockQ4_K>("Q4_K", pack_super_tile<BlockQ4_K>),
    entry<BlockQ5_K>("Q5_K", pack_super_tile<BlockQ5_K>),
    entry<BlockQ6_K>("Q6_K", pack_super_tile<BlockQ6_K>),
    entry<BlockF8_E4M3>("F8_E4M3"),
    entry<BlockF8_E5M2>("F8_E5M2"),
};

}  // namespace

std::span<const FormatEntry> all_formats() { return kFormats; }

const FormatEntry* find_format(std::string_view name) {
    for (const FormatEntry& format : kFormats)
        if (name == format.name) return &format;
    return nullptr;
}

}  // namespace ingle
