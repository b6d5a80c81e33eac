// MXFP4 as OpenAI's checkpoints hold it: codes and exponents apart, byte j holding elements 2j
// and 2j + 1.
#pragma once
#include "formats/blocks.h"

namespace ingle {

// codes (count, 16) and exponents (count,) -> blocks whose byte j holds elements j and j + 16.
inline void blocks_from_openai(const uint8_t* codes, const uint8_t* exponents, size_t count,
                               BlockMXFP4* blocks) {
    for (size_t b = 0; b < count; ++b) {
        const uint8_t* first = codes + 16 * b;
        const uint8_t* second = first + 8;
        uint8_t qs[16];
        for (int j = 0; j < 8; ++j) {
            qs[2 * j] = static_cast<uint8_t>((first[j] & 15) | second[j] << 4);
            qs[2 * j + 1] = static_cast<uint8_t>(first[j] >> 4 | (second[j] & 0xF0));
        }
        blocks[b].d = exponents[b];
        for (int j = 0; j < 16; ++j) blocks[b].qs[j] = qs[j];
    }
}

}  // namespace ingle
