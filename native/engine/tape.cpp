#include "engine/tape.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "engine/step.h"

namespace ingle {
namespace {

constexpr int64_t kColumnBlock = 120;  // rows of activations that stay in L2 under a weight tile

using Slot = Tape::Slot;

float* row(const Slot& s, int64_t r) { return s.f + r * s.stride; }

void quantize(const Kernels& k, const float* x, const Slot& out, int64_t r, int64_t first_column,
              int64_t n) {
    const int64_t at = r * (out.q.columns / kBlock) + first_column / kBlock;
    k.quantize_row(x, n, out.q.q + r * out.q.columns + first_column, out.q.d + at, out.q.ds + at,
                   out.q.sum + at);
}

// Row r into 8-bit row 2r, and what that leaves of it into 8-bit row 2r + 1; the floats are spent.
void quantize_twice(const Kernels& k, const Slot& out, int64_t r) {
    float* x = row(out, r);
    quantize(k, x, out, 2 * r, 0, out.width);
    const int8_t* q = out.q.q + 2 * r * out.width;
    const float* d = out.q.d + 2 * r * (out.width / kBlock);
    for (int64_t i = 0; i < out.width; ++i)
        x[i] = __builtin_fmaf(-d[i / kBlock], static_cast<float>(q[i]), x[i]);
    quantize(k, x, out, 2 * r + 1, 0, out.width);
}

// tile (16 rows of the weight) times activation rows [c, c + n) into out[n][16]
void multiply(const Kernels& k, const Matrix& w, const uint8_t* tile, const Slot& in, int64_t c,
              int64_t n, float* out, int64_t out_stride) {
    const int type = static_cast<int>(w.type);
    if (w.is_float()) k.f32_matmul[type](tile, w.columns, row(in, c), in.stride, n, out, out_stride);
    else k.q8_matmul[type](tile, in.q, c, n, out, out_stride);
}

struct Embed : Step {
    std::shared_ptr<Matrix> table;
    Slot out;
    void run(const Frame& f, int thread) override {
        share(f, thread, rows(f), 1, 4, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r) table->decode_row(f.batch.ids[r], row(out, r));
        });
    }
};

struct SelectOutputs : Step {
    Slot in, out;
    void run(const Frame& f, int thread) override {
        share(f, thread, f.batch.num_outputs, 1, 4, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r)
                std::memcpy(row(out, r), row(in, f.batch.output_rows[r]), sizeof(float) * in.width);
        });
    }
};

struct Norm : Step {
    Slot in, out;
    const float* weight;
    float eps;
    void run(const Frame& f, int thread) override {
        share(f, thread, rows(f), 4, 4, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r) {
                f.kernels.rms_norm(row(in, r), weight, in.width, eps, row(out, r));
                if (out.int8_parts == 1) quantize(f.kernels, row(out, r), out, r, 0, in.width);
                if (out.int8_parts == 2) quantize_twice(f.kernels, out, r);
            }
        });
    }
};

struct Linear : Step {
    Slot in, out;
    std::vector<LinearPart> parts;
    bool add;
    void run(const Frame& f, int thread) override {
        const int64_t n = rows(f);
        int64_t total = 0;
        for (const LinearPart& p : parts) total += p.weight->num_tiles();
        share(f, thread, total, 2, 3, [&](int64_t begin, int64_t end) {
            int64_t first = 0;  // index of the part's first tile
            for (const LinearPart& p : parts) {
                const int64_t from = std::max(begin - first, int64_t{0});
                const int64_t to = std::min(end - first, p.weight->num_tiles());
                for (int64_t c = 0; c < n && from < to; c += kColumnBlock)
                    for (int64_t t = from; t < to; ++t)
                        tile(f.kernels, p, t, c, std::min(kColumnBlock, n - c));
                first += p.weight->num_tiles();
            }
        });
    }
    void tile(const Kernels& k, const LinearPart& p, int64_t t, int64_t c, int64_t n) const {
        alignas(64) float y[kColumnBlock * kTileRows];
        multiply(k, *p.weight, p.weight->tile(t), in, c, n, y, kTileRows);
        const int64_t first = t * kTileRows;
        const int64_t width = std::min<int64_t>(kTileRows, p.weight->rows - first);
        for (int64_t i = 0; i < n; ++i) {
            float* to = row(out, c + i) + p.column + first;
            const float* from = y + i * kTileRows;
            for (int64_t j = 0; j < width; ++j) {
                const float value = p.bias ? from[j] + p.bias[first + j] : from[j];
                to[j] = add ? to[j] + value : value;
            }
        }
    }
};

// Rounding here goes straight into the logits and few rows need them, so 8-bit activations come in
// two parts, 16 bits together: y = W hi + W lo.
struct Logits : Step {
    Slot in;
    std::shared_ptr<Matrix> weight;
    void run(const Frame& f, int thread) override {
        const int64_t parts = in.int8_parts == 2 ? 2 : 1, n = rows(f), most = kColumnBlock / parts;
        share(f, thread, weight->num_tiles(), 8, 3, [&](int64_t begin, int64_t end) {
            for (int64_t c = 0; c < n; c += most)
                for (int64_t t = begin; t < end; ++t) tile(f, t, c, std::min(most, n - c), parts);
        });
    }
    void tile(const Frame& f, int64_t t, int64_t c, int64_t n, int64_t parts) const {
        alignas(64) float y[kColumnBlock * kTileRows];
        multiply(f.kernels, *weight, weight->tile(t), in, c * parts, n * parts, y, kTileRows);
        for (int64_t i = 0; i < n; ++i) {
            float* to = f.batch.logits + (c + i) * f.batch.logits_stride + t * kTileRows;
            const float* from = y + i * parts * kTileRows;
            for (int64_t j = 0; j < kTileRows; ++j)
                to[j] = parts == 2 ? from[j] + from[j + kTileRows] : from[j];
        }
    }
};

void rotate(float* x, const float* cos, const float* sin, int half, bool interleaved) {
    for (int i = 0; i < half; ++i) {
        float& a = interleaved ? x[2 * i] : x[i];
        float& b = interleaved ? x[2 * i + 1] : x[i + half];
        const float first = a * cos[i] - b * sin[i];
        b = b * cos[i] + a * sin[i];
        a = first;
    }
}

// Rotates q in place; rotates k and writes k and v into their page.
struct StoreKv : Step {
    Slot qkv;
    AttentionShape s;
    RopeTable rope;
    void run(const Frame& f, int thread) override {
        const int64_t heads = s.num_heads + s.num_kv_heads;
        share(f, thread, rows(f) * heads, 4, 4, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) one(f.batch, i / heads, static_cast<int>(i % heads));
        });
    }
    void one(const BatchView& batch, int64_t r, int head) const {
        const int64_t position = batch.positions[r];
        const int half = s.head_dim / 2;
        float* x = row(qkv, r) + static_cast<int64_t>(head) * s.head_dim;
        if (rope.cos)
            rotate(x, rope.cos + position * half, rope.sin + position * half, half, rope.interleaved);
        if (head < s.num_heads) return;
        const float* v = x + static_cast<int64_t>(s.num_kv_heads) * s.head_dim;
        const KvGroup& g = batch.groups[s.group];
        const int64_t page = g.page_tables[batch.sequences[r] * g.table_width + position / kPageTokens];
        const int64_t slot = position % kPageTokens;
        const int64_t offset = (s.layer * g.num_pages + page) * g.page_floats +
                               static_cast<int64_t>(head - s.num_heads) * s.head_dim * kPageTokens;
        for (int k = 0; k < s.head_dim; ++k) g.keys[offset + k * kPageTokens + slot] = x[k];
        std::memcpy(g.values + offset + slot * s.head_dim, v, sizeof(float) * s.head_dim);
    }
};

struct Attend : Step {
    Slot qkv, out;
    AttentionShape s;
    const float* sinks;
    bool quantizes;  // its own columns; else a step of its own follows
    void run(const Frame& f, int thread) override {
        const int64_t n = rows(f) * s.num_kv_heads;
        // Later tokens see more keys: with many rows everything is handed out dynamically.
        share(f, thread, n, 1, n > 4 * s.num_kv_heads ? 0 : 4, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i)
                one(f, n / s.num_kv_heads - 1 - i / s.num_kv_heads, static_cast<int>(i % s.num_kv_heads));
        });
    }
    void one(const Frame& f, int64_t r, int kv_head) const {
        const int heads = s.num_heads / s.num_kv_heads;
        const int64_t width = static_cast<int64_t>(heads) * s.head_dim, first = kv_head * width;
        const KvGroup& g = f.batch.groups[s.group];
        const int64_t offset = s.layer * g.num_pages * g.page_floats +
                               static_cast<int64_t>(kv_head) * s.head_dim * kPageTokens;
        const int64_t last = f.batch.positions[r];
        AttendArgs a;
        a.q = row(qkv, r) + first;
        a.pages = g.page_tables + f.batch.sequences[r] * g.table_width;
        a.keys = g.keys + offset;
        a.values = g.values + offset;
        a.page_stride = g.page_floats;
        a.first = s.window && last >= s.window ? last - s.window + 1 : 0;
        a.last = last;
        a.sinks = sinks ? sinks + static_cast<int64_t>(kv_head) * heads : nullptr;
        a.out = row(out, r) + first;
        a.scale = s.scale;
        a.heads = heads;
        a.head_dim = s.head_dim;
        f.kernels.attend(a);
        if (quantizes) quantize(f.kernels, a.out, out, r, first, width);
    }
};

// 8-bit form of whole rows, where the heads of one KV head do not fill whole blocks.
struct Quantize : Step {
    Slot slot;
    void run(const Frame& f, int thread) override {
        share(f, thread, rows(f), 4, 4, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r)
                quantize(f.kernels, row(slot, r), slot, r, 0, slot.width);
        });
    }
};

struct GateUp : Step {
    Slot in, out;
    std::shared_ptr<Matrix> gate, up;
    void run(const Frame& f, int thread) override {
        const int64_t n = rows(f);
        share(f, thread, out.width / kBlock, 1, 3, [&](int64_t begin, int64_t end) {
            for (int64_t c = 0; c < n; c += kColumnBlock)
                for (int64_t u = begin; u < end; ++u)
                    unit(f.kernels, u, c, std::min(kColumnBlock, n - c));
        });
    }
    void unit(const Kernels& k, int64_t u, int64_t c, int64_t n) const {  // 32 hidden columns
        alignas(64) float g[kColumnBlock * kBlock], v[kColumnBlock * kBlock];
        for (int half = 0; half < 2; ++half) {
            const int64_t t = 2 * u + half;
            multiply(k, *gate, gate->tile(t), in, c, n, g + half * kTileRows, kBlock);
            multiply(k, *up, up->tile(t), in, c, n, v + half * kTileRows, kBlock);
        }
        for (int64_t i = 0; i < n; ++i) {
            float* h = row(out, c + i) + u * kBlock;
            k.silu_mul(g + i * kBlock, v + i * kBlock, kBlock, h);
            if (out.int8_parts) quantize(k, h, out, c + i, u * kBlock, kBlock);
        }
    }
};

void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

}  // namespace

Tape::Tape(std::shared_ptr<Pool> pool, const Kernels& kernels, int64_t max_rows)
    : pool_(std::move(pool)), kernels_(kernels), max_rows_(max_rows) {
    require(max_rows >= 1 && max_rows <= 65536, "max_rows must be 1 to 65536");
}

Tape::~Tape() = default;

void* Tape::scratch(int64_t bytes) {
    arenas_.push_back(std::make_unique<uint8_t[]>(static_cast<size_t>(bytes + 64)));
    scratch_bytes_ += bytes + 64;
    const auto address = reinterpret_cast<uintptr_t>(arenas_.back().get());
    return reinterpret_cast<void*>((address + 63) & ~static_cast<uintptr_t>(63));
}

int Tape::slot(int64_t width, int int8_parts) {
    require(width >= 1 && width <= (1 << 24), "slot width must be 1 to 2^24");
    require(int8_parts >= 0 && int8_parts <= 2, "a slot has 0, 1 or 2 8-bit parts");
    require(!int8_parts || width % kBlock == 0,
            "an 8-bit slot needs a width that is a multiple of 32");
    Slot s;
    s.width = width;
    s.stride = (width + 15) / 16 * 16;
    s.f = static_cast<float*>(scratch(max_rows_ * s.stride * 4));
    s.int8_parts = int8_parts;
    if (int8_parts) {
        const int64_t rows = max_rows_ * int8_parts, blocks = rows * width / kBlock * 4;
        s.q = {static_cast<int8_t*>(scratch(rows * width)), static_cast<float*>(scratch(blocks)),
               static_cast<float*>(scratch(blocks)), static_cast<int32_t*>(scratch(blocks)), width};
    }
    slots_.push_back(s);
    return static_cast<int>(slots_.size()) - 1;
}

const Slot& Tape::at(int slot) const {
    require(slot >= 0 && slot < static_cast<int>(slots_.size()), "no such slot");
    return slots_[slot];
}

void Tape::push(std::unique_ptr<Step> step) {
    step->on_outputs = outputs_selected_;
    steps_.push_back(std::move(step));
}

void Tape::require_input(int slot, const Matrix& weight) const {
    const Slot& s = at(slot);
    require(s.width == weight.columns, "weight columns must equal the input's width");
    require(weight.is_float() || s.int8_parts, "the input slot lacks the 8-bit form");
}

void Tape::embed(std::shared_ptr<Matrix> table, int out) {
    require(at(out).width == table->columns, "embedding width must equal the slot's");
    vocabulary_ = table->rows;
    auto step = std::make_unique<Embed>();
    step->table = std::move(table);
    step->out = at(out);
    push(std::move(step));
}

void Tape::select_outputs(int in, int out) {
    require(at(in).width == at(out).width, "slots must have equal widths");
    outputs_selected_ = true;
    auto step = std::make_unique<SelectOutputs>();
    step->in = at(in);
    step->out = at(out);
    push(std::move(step));
}

void Tape::norm(int in, const float* weight, float eps, int out) {
    require(at(in).width == at(out).width, "slots must have equal widths");
    auto step = std::make_unique<Norm>();
    step->in = at(in);
    step->out = at(out);
    step->weight = weight;
    step->eps = eps;
    push(std::move(step));
}

void Tape::linear(int in, std::vector<LinearPart> parts, int out, bool add) {
    require(!parts.empty(), "a linear step needs weights and a float output");
    for (const LinearPart& p : parts) {
        require_input(in, *p.weight);
        require(p.column >= 0 && p.column + p.weight->rows <= at(out).width,
                "weight rows must fit the output's width");
    }
    auto step = std::make_unique<Linear>();
    step->in = at(in);
    step->out = at(out);
    step->parts = std::move(parts);
    step->add = add;
    push(std::move(step));
}

void Tape::logits(int in, std::shared_ptr<Matrix> weight) {
    require_input(in, *weight);
    require(weight->is_float() || at(in).int8_parts == 2, "the head takes activations in two parts");
    logits_width_ = weight->num_tiles() * kTileRows;
    auto step = std::make_unique<Logits>();
    step->in = at(in);
    step->weight = std::move(weight);
    push(std::move(step));
}

void Tape::store_kv(int qkv, const AttentionShape& s, const RopeTable& rope) {
    require(s.num_kv_heads >= 1 && s.num_heads >= 1 && s.num_heads % s.num_kv_heads == 0,
            "query heads must be a multiple of key/value heads");
    require(s.head_dim >= 16 && s.head_dim <= 256 && s.head_dim % 16 == 0,
            "head_dim must be a multiple of 16, 16 to 256");
    require(at(qkv).width == (s.num_heads + 2 * s.num_kv_heads) * int64_t{s.head_dim},
            "qkv width must be (heads + 2 kv_heads) * head_dim");
    if (rope.cos) rope_positions_ = std::min(rope_positions_, rope.positions);
    remember(s);
    auto step = std::make_unique<StoreKv>();
    step->qkv = at(qkv);
    step->s = s;
    step->rope = rope;
    push(std::move(step));
}

void Tape::remember(const AttentionShape& s) {  // layers that read the same pages are checked once
    for (AttentionShape& known : attentions_)
        if (known.group == s.group && known.window == s.window && known.head_dim == s.head_dim &&
            known.num_kv_heads == s.num_kv_heads) {
            known.layer = std::max(known.layer, s.layer);
            return;
        }
    attentions_.push_back(s);
}

void Tape::attend(int qkv, const AttentionShape& s, const float* sinks, int out) {
    const int64_t width = int64_t{s.num_heads} * s.head_dim;
    require(at(out).width == width, "attention output must be heads * head_dim wide");
    auto step = std::make_unique<Attend>();
    step->qkv = at(qkv);
    step->out = at(out);
    step->s = s;
    step->sinks = sinks;
    step->quantizes = at(out).int8_parts && width / s.num_kv_heads % kBlock == 0;
    const bool quantized = step->quantizes || !at(out).int8_parts;
    push(std::move(step));
    if (quantized) return;
    auto rest = std::make_unique<Quantize>();
    rest->slot = at(out);
    push(std::move(rest));
}

void Tape::gate_up(int in, std::shared_ptr<Matrix> gate, std::shared_ptr<Matrix> up, int out) {
    require_input(in, *gate);
    require_input(in, *up);
    require(at(out).width == gate->rows && gate->rows == up->rows &&
                gate->rows % kBlock == 0,
            "gate and up must have as many rows as the output is wide, a multiple of 32");
    auto step = std::make_unique<GateUp>();
    step->in = at(in);
    step->out = at(out);
    step->gate = std::move(gate);
    step->up = std::move(up);
    push(std::move(step));
}

void Tape::check(const BatchView& b) const {
    require(b.rows >= 1 && b.rows <= max_rows_, "a batch must have 1 to max_rows tokens");
    require(b.num_outputs >= 0 && b.num_outputs <= max_rows_, "more output rows than max_rows");
    require(b.logits_stride >= logits_width_, "logits need room for whole tiles");
    for (int64_t i = 0; i < b.num_outputs; ++i)
        require(b.output_rows[i] >= 0 && b.output_rows[i] < b.rows, "output row outside the batch");
    for (int64_t r = 0; r < b.rows; ++r) {
        require(b.ids[r] >= 0 && b.ids[r] < vocabulary_, "token id outside the vocabulary");
        require(b.sequences[r] >= 0 && b.sequences[r] < b.num_sequences, "unknown sequence");
        require(b.positions[r] >= 0 && b.positions[r] < rope_positions_,
                "position beyond the context this model was loaded with");
    }
    for (const AttentionShape& s : attentions_) {
        require(s.group >= 0 && s.group < static_cast<int>(b.groups.size()), "missing KV group");
        const KvGroup& g = b.groups[s.group];
        require(s.layer >= 0 && s.layer < g.num_layers, "KV group has too few layers");
        require(g.page_floats == int64_t{s.num_kv_heads} * s.head_dim * kPageTokens,
                "KV pages have another shape than the layer");
        for (int64_t r = 0; r < b.rows; ++r) {
            const int64_t last = b.positions[r] / kPageTokens;
            require(last < g.table_width, "position beyond the page table");
            const int64_t first = s.window && b.positions[r] >= s.window
                                      ? (b.positions[r] - s.window + 1) / kPageTokens : 0;
            for (int64_t p = first; p <= last; ++p) {
                const int32_t page = g.page_tables[b.sequences[r] * g.table_width + p];
                require(page >= 0 && page < g.num_pages, "page outside the KV pool");
            }
        }
    }
}

void Tape::run(const BatchView& batch) {
    for (const auto& step : steps_) step->next_.store(0, std::memory_order_relaxed);
    const Frame frame{batch, kernels_, pool_->num_threads()};
    pool_->run([&](int thread) {
        for (const auto& step : steps_) {
            step->run(frame, thread);
            pool_->barrier();
        }
    });
}

}  // namespace ingle
