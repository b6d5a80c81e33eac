#include "quantize/gptq.h"

#include <vector>

#include "quantize/fault.h"
#include "quantize/search.h"

namespace ingle {
namespace {

// y += a * x
void add_scaled(float a, const float* x, size_t n, float* y) {
    for (size_t i = 0; i < n; ++i) y[i] += a * x[i];
}

// n: a multiple of 8, as blocks are.
float dot(const float* x, const float* y, size_t n) {
    float lanes[8] = {};
    for (size_t i = 0; i < n; i += 8)
        for (size_t k = 0; k < 8; ++k) lanes[k] += x[i + k] * y[i + k];
    float sum = 0.0f;
    for (const float lane : lanes) sum += lane;
    return sum;
}

// One row on its way: scales of its blocks, codes, what they decode to.
template <class Block>
class Row {
    using C = Codec<Block>;
    using Levels = typename C::Levels;
    static constexpr int kWeights = static_cast<int>(Block::kWeights);
    static constexpr int kSize = kWeights / C::kSubs;  // weights of a sub-block

public:
    explicit Row(const Curvature& curvature)
        : c_(curvature), n_(curvature.columns), work_(n_), decoded_(n_), gradient_(n_), weight_(n_),
          codes_(n_), scales_(n_ / kWeights) {
        for (size_t j = 0; j < n_; ++j) {
            const float pivot = c_.factor[j * n_ + j];
            weight_[j] = 1.0f / (pivot * pivot);
        }
    }

    void encode(const float* row, Block* out) {
        std::memcpy(work_.data(), row, n_ * sizeof(float));
        for (size_t b = 0; b < n_ / kWeights; ++b) round_block(b);
        if (c_.sweeps > 0) refine(row);
        for (size_t b = 0; b < n_ / kWeights; ++b) store(scales_[b], &codes_[b * kWeights], out[b]);
    }

private:
    // Scales from the weights as earlier errors have moved them, then column by column.
    void round_block(size_t b) {
        const size_t start = b * kWeights;
        Scales& s = scales_[b];
        s = search_scales<C>(&work_[start], &weight_[start]);
        for (int sub = 0; sub < C::kSubs; ++sub) {
            const size_t first = start + static_cast<size_t>(sub) * kSize;
            if (C::kSubs > 1 && sub > 0) {
                const Fit fit = fit_sub<C>(&work_[first], &weight_[first], kSize);
                choose_sub<C>(&work_[first], &weight_[first], kSize, fit, sub, s);
            }
            const float scale = scale_of<C>(s, sub), offset = offset_of<C>(s, sub);
            const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
            for (size_t j = first; j < first + kSize; ++j) round_column(j, scale, offset, inverse, start + kWeights);
        }
        spread(start);
    }

    // Rounds one weight; the columns of its block take the error at once, later ones in `spread`.
    void round_column(size_t j, float scale, float offset, float inverse, size_t end) {
        const int code = Levels::nearest((work_[j] - offset) * inverse);
        codes_[j] = static_cast<uint8_t>(code);
        decoded_[j] = scale * Levels::level(code) + offset;
        const float* u = c_.factor + j * n_;
        const float error = (work_[j] - decoded_[j]) / u[j];
        gradient_[j] = error;
        add_scaled(-error, u + j + 1, end - j - 1, &work_[j + 1]);
    }

    void spread(size_t start) {
        const size_t end = start + kWeights;
        for (size_t j = start; j < end && end < n_; ++j)
            add_scaled(-gradient_[j], c_.factor + j * n_ + end, n_ - end, &work_[end]);
    }

    // Coordinate descent: gradient_ = hessian (row - decoded) is kept as codes and scales move.
    void refine(const float* row) {
        for (size_t j = 0; j < n_; ++j) work_[j] = row[j] - decoded_[j];
        for (size_t j = 0; j < n_; ++j) gradient_[j] = dot(c_.hessian + j * n_, work_.data(), n_);
        for (int sweep = 0; sweep < c_.sweeps; ++sweep) {
            bool moved = false;
            for (size_t b = 0; b < n_ / kWeights; ++b)
                for (int sub = 0; sub < C::kSubs; ++sub) {
                    moved = move_codes(b, sub) || moved;
                    if constexpr (C::kSubs == 1 && C::kScaling != Scaling::Power)
                        moved = move_scale(b) || moved;
                }
            if (!moved) break;
        }
    }

    void shift(size_t j, float by) {
        decoded_[j] += by;
        add_scaled(-by, c_.hessian + j * n_, n_, gradient_.data());
    }

    bool move_codes(size_t b, int sub) {
        const float scale = scale_of<C>(scales_[b], sub), offset = offset_of<C>(scales_[b], sub);
        if (scale == 0.0f) return false;
        const float inverse = 1.0f / scale;
        bool moved = false;
        const size_t first = b * kWeights + static_cast<size_t>(sub) * kSize;
        for (size_t j = first; j < first + kSize; ++j) {
            const float ideal = decoded_[j] + gradient_[j] / c_.hessian[j * n_ + j];
            const int code = Levels::nearest((ideal - offset) * inverse);
            if (code == codes_[j]) continue;
            const float by = scale * Levels::level(code) + offset - decoded_[j];
            // Nearest to the optimum of a parabola is the best of the levels; equals are left alone.
            if (!(by * (2.0f * gradient_[j] - by * c_.hessian[j * n_ + j]) > 0)) continue;
            codes_[j] = static_cast<uint8_t>(code);
            shift(j, by);
            moved = true;
        }
        return moved;
    }

    // The float16 scale (and minimum) of a block that lowers the objective most, codes as they are.
    bool move_scale(size_t b) {
        const size_t start = b * kWeights;
        float levels[kWeights], hl[kWeights], hs[kWeights];
        for (int i = 0; i < kWeights; ++i) levels[i] = Levels::level(codes_[start + i]);
        float lhl = 0, lhs = 0, shs = 0, lg = 0, sg = 0;
        for (int i = 0; i < kWeights; ++i) {
            const float* h = c_.hessian + (start + i) * n_ + start;
            hl[i] = dot(h, levels, kWeights);
            hs[i] = 0.0f;
            for (int k = 0; k < kWeights; ++k) hs[i] += h[k];
            lhl += levels[i] * hl[i];
            lhs += hl[i];
            shs += hs[i];
            lg += levels[i] * gradient_[start + i];
            sg += gradient_[start + i];
        }
        if (!(lhl > 0)) return false;
        float by_d = lg / lhl, by_m = 0.0f;
        if constexpr (C::kScaling == Scaling::HalfAndMin) {
            const float determinant = lhl * shs - lhs * lhs;
            if (determinant > 1e-6f * lhl * shs) {
                by_d = (lg * shs - sg * lhs) / determinant;
                by_m = (sg * lhl - lg * lhs) / determinant;
            }
        }
        Scales s = scales_[b];
        s.d = as_half(s.d + by_d);
        if constexpr (C::kScaling == Scaling::HalfAndMin) s.m = as_half(s.m + by_m);
        by_d = s.d - scales_[b].d;
        by_m = s.m - scales_[b].m;
        if (by_d == 0.0f && by_m == 0.0f) return false;
        const float gain = 2.0f * (by_d * lg + by_m * sg) - by_d * by_d * lhl -
                           2.0f * by_d * by_m * lhs - by_m * by_m * shs;
        if (!(gain > 0) || !(std::fabs(s.d) < 65504.0f)) return false;
        scales_[b] = s;
        for (int i = 0; i < kWeights; ++i) {
            const float now = s.d * levels[i] + offset_of<C>(s, 0);
            shift(start + i, now - decoded_[start + i]);
        }
        return true;
    }

    const Curvature& c_;
    size_t n_;
    std::vector<float> work_, decoded_, gradient_, weight_;
    std::vector<uint8_t> codes_;
    std::vector<Scales> scales_;
};

template <class Block>
Fault encode_curved(const float* rows, size_t num_rows, const Curvature& curvature, uint8_t* out) {
    Row<Block> row(curvature);
    const size_t blocks = curvature.columns / Block::kWeights;
    Fault fault = Fault::None;
    for (size_t r = 0; r < num_rows; ++r) {
        const float* x = rows + r * curvature.columns;
        Block* block = reinterpret_cast<Block*>(out) + r * blocks;
        if (const Fault found = fault_of_row<Block>(x, curvature.columns); found != Fault::None)
            return found;
        row.encode(x, block);
        for (size_t b = 0; b < blocks; ++b)
            if (!finite_scales(block[b])) fault = Fault::Scale;
    }
    return fault;
}

struct Entry {
    const char* name;
    EncodeCurved* encode;
};

constexpr Entry kEntries[] = {
    {"Q8_0", encode_curved<BlockQ8_0>},     {"Q4_0", encode_curved<BlockQ4_0>},
    {"Q4_1", encode_curved<BlockQ4_1>},     {"Q5_0", encode_curved<BlockQ5_0>},
    {"Q5_1", encode_curved<BlockQ5_1>},     {"IQ4_NL", encode_curved<BlockIQ4_NL>},
    {"IQ4_XS", encode_curved<BlockIQ4_XS>}, {"MXFP4", encode_curved<BlockMXFP4>},
    {"Q2_K", encode_curved<BlockQ2_K>},     {"Q3_K", encode_curved<BlockQ3_K>},
    {"Q4_K", encode_curved<BlockQ4_K>},     {"Q5_K", encode_curved<BlockQ5_K>},
    {"Q6_K", encode_curved<BlockQ6_K>},     {"Q6_0", encode_curved<BlockQ6_0>},
};

}  // namespace

EncodeCurved* find_curved_encoder(std::string_view name) {
    for (const Entry& entry : kEntries)
        if (name == entry.name) return entry.encode;
    return nullptr;
}

}  // namespace ingle
