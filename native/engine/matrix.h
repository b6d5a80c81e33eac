// A weight matrix, or a stack of experts' matrices, in the kernel layout: 16-row tiles in order.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/kernels.h"

namespace ingle {

// Bytes per block of 32 columns of a 16-row tile, by part; floats and super-blocks have no parts.
struct TileFacts {
    const char* name;
    int quant_bytes, scale_bytes, min_bytes;
    int float_bytes;  // per value; 0 for block formats
    // Of super-blocks: their bytes of 16 rows, and row `row` of a tile as floats. Else 0 and null.
    int super_bytes = 0;
    void (*decode_super_row)(const uint8_t* tile, size_t row, size_t supers, float* out) = nullptr;
};

const TileFacts& tile_facts(WeightType type);
WeightType weight_type(const std::string& name);  // throws std::invalid_argument

constexpr int64_t kSuperColumns = 256;

struct Matrix {
    WeightType type;
    int64_t rows, columns;  // of one matrix
    int64_t num_matrices;   // 1, or the number of experts; each begins a tile of its own
    const uint8_t* tiles;   // the first tile of the first matrix
    int64_t tile_stride;    // bytes from one tile to the next
    int64_t matrix_stride;  // bytes from one matrix to the next
    // Factors of the rows' products, (num_matrices, num_tiles() * 16), beside the tiles' own scales;
    // or null.
    const float* row_scales = nullptr;

    bool is_float() const { return tile_facts(type).float_bytes != 0; }
    int64_t num_tiles() const { return (rows + kTileRows - 1) / kTileRows; }
    const uint8_t* tile(int64_t index, int64_t matrix = 0) const {
        return tiles + matrix * matrix_stride + index * tile_stride;
    }
    // out[0 .. columns) = row `row`, decoded exactly as the number format defines
    void decode_row(int64_t row, float* out) const { decode_row_of(tile(row / kTileRows), row, out); }
    // the same of the row's tile, wherever that lies
    void decode_row_of(const uint8_t* tile, int64_t row, float* out) const;
};

int64_t tile_bytes(WeightType type, int64_t columns);

}  // namespace ingle
