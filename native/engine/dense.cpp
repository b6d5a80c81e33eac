// Steps of embeddings, norms, linear layers and gated MLPs.
#include <limits>
#include <utility>

#include "engine/step.h"

namespace ingle {
namespace {

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

// A table of which single rows are wanted: in memory, or read from its file tile by tile.
struct Lookup {
    std::shared_ptr<Matrix> table;
    std::shared_ptr<FileTiles> file;  // null: in memory
    uint8_t* tiles = nullptr;         // one of the file's for each thread
    void find(int64_t index, int thread, float* values) const {
        if (file) {
            uint8_t* tile = tiles + thread * table->tile_stride;
            const int64_t at = index / kTileRows * table->tile_stride;
            if (file->read(at, tile, tile_bytes(table->type, table->columns)))
                return table->decode_row_of(tile, index, values);
        }
        table->decode_row(index, values);
    }
};

struct Embed : Step {
    const char* name() const override { return "embed"; }
    Lookup tokens, positions;
    Slot out, places;
    void run(const Frame& f, int thread) override {
        share(f, thread, rows(f), 1, 4, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r) one(f.batch, r, thread);
        });
    }
    void one(const BatchView& batch, int64_t r, int thread) const {
        tokens.find(batch.ids[r], thread, row(out, r));
        if (!positions.table) return;
        positions.find(batch.positions[r], thread, row(places, r));
        for (int64_t i = 0; i < out.width; ++i) row(out, r)[i] += row(places, r)[i];
    }
};

struct SelectOutputs : Step {
    const char* name() const override { return "select_outputs"; }
    Slot in, out;
    void run(const Frame& f, int thread) override {
        share(f, thread, f.batch.num_outputs, 1, 4, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r)
                std::memcpy(row(out, r), row(in, f.batch.output_rows[r]), sizeof(float) * in.width);
        });
    }
};

struct Norm : Step {
    const char* name() const override { return "norm"; }
    Slot in, out;
    const float* weight;
    const float* bias;
    float eps;
    void run(const Frame& f, int thread) override {
        share(f, thread, rows(f), 4, 4, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r) {
                if (bias) f.kernels.layer_norm(row(in, r), weight, bias, in.width, eps, row(out, r));
                else f.kernels.rms_norm(row(in, r), weight, in.width, eps, row(out, r));
                if (out.int8_parts == 1) quantize(f.kernels, row(out, r), out, r, 0, in.width);
                if (out.int8_parts == 2) quantize_twice(f.kernels, out, r);
            }
        });
    }
};

struct Linear : Step {
    const char* name() const override { return "linear"; }
    bool reads_weights() const override { return true; }
    Slot in, out;
    std::vector<LinearPart> parts;
    bool add;
    Ahead first_read(const Frame& f, int thread) const override {
        return pair_at(first_item(f, thread, all_pairs()));
    }
    void run(const Frame& f, int thread) override {
        const int64_t n = rows(f), total = all_pairs();
        if (n <= kFewRows)
            return stream(f, thread, total, 1, [&](int64_t i, int64_t next) {
                const auto [part, u] = find(i);
                pair(f.kernels, *part, u, 0, n, next < total ? pair_at(next) : after(f, thread));
            });
        share(f, thread, total, 1, kFixedQuarters, [&](int64_t begin, int64_t end) {
            int64_t first = 0;  // index of the part's first pair
            for (const LinearPart& p : parts) {
                const int64_t from = std::max(begin - first, int64_t{0});
                const int64_t to = std::min(end - first, num_pairs(*p.weight));
                for (int64_t c = 0; c < n && from < to; c += kColumnBlock)
                    for (int64_t u = from; u < to; ++u)
                        pair(f.kernels, p, u, c, std::min(kColumnBlock, n - c), {});
                first += num_pairs(*p.weight);
            }
        });
    }
    int64_t all_pairs() const {
        int64_t total = 0;
        for (const LinearPart& p : parts) total += num_pairs(*p.weight);
        return total;
    }
    // The part that pair `i` of all belongs to, and its number there.
    std::pair<const LinearPart*, int64_t> find(int64_t i) const {
        const LinearPart* part = parts.data();
        for (; i >= num_pairs(*part->weight); ++part) i -= num_pairs(*part->weight);
        return {part, i};
    }
    Ahead pair_at(int64_t i) const {
        const auto [part, u] = find(i);
        return ahead_of(*part->weight, 0, u);
    }
    void pair(const Kernels& k, const LinearPart& p, int64_t u, int64_t c, int64_t n, Ahead ahead) const {
        alignas(64) float y[kColumnBlock * kPairRows];
        multiply(k, *p.weight, 0, u, in, c, n, y, kPairRows, ahead);
        const int64_t first = u * kPairRows;
        const int64_t width = std::min(kPairRows, p.weight->rows - first);
        for (int64_t i = 0; i < n; ++i) {
            float* to = row(out, c + i) + p.column + first;
            const float* from = y + i * kPairRows;
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
    const char* name() const override { return "logits"; }
    bool reads_weights() const override { return true; }
    Slot in;
    std::shared_ptr<Matrix> weight;
    void run(const Frame& f, int thread) override {
        const int64_t parts = in.int8_parts == 2 ? 2 : 1, n = rows(f), most = kColumnBlock / parts;
        const int64_t total = num_pairs(*weight);
        if (n == 0) return;  // part of a prompt: nobody asks for its logits
        if (n * parts <= kFewRows)
            return stream(f, thread, total, 4, [&](int64_t u, int64_t next) {
                pair(f, u, 0, n, next < total ? ahead_of(*weight, 0, next) : after(f, thread));
            });
        share(f, thread, total, 4, kFixedQuarters, [&](int64_t begin, int64_t end) {
            for (int64_t c = 0; c < n; c += most)
                for (int64_t u = begin; u < end; ++u) pair(f, u, c, std::min(most, n - c), {});
        });
    }
    Ahead first_read(const Frame& f, int thread) const override {
        return ahead_of(*weight, 0, first_item(f, thread, num_pairs(*weight)));
    }
    void pair(const Frame& f, int64_t u, int64_t c, int64_t n, Ahead ahead) const {
        alignas(64) float y[kColumnBlock * kPairRows];
        multiply(f.kernels, *weight, 0, u, in, c, n, y, kPairRows, ahead);
        const int64_t first = u * kPairRows;
        const int64_t width = std::min(kPairRows, weight->num_tiles() * kTileRows - first);
        for (int64_t i = 0; i < n; ++i)
            std::memcpy(f.batch.logits + (c + i) * f.batch.logits_stride + first, y + i * kPairRows,
                        sizeof(float) * width);
    }
};

// Which pairs of the head are worth a second look: `count` of each row, in index order.
struct ChooseRows : Step {
    const char* name() const override { return "choose_rows"; }
    bool chooses_weights() const override { return true; }
    int64_t num_pairs, vocabulary, count;
    int32_t* chosen;  // (rows, count)
    std::vector<std::vector<std::pair<float, int32_t>>> room;  // of each thread: (pairs,)
    void run(const Frame& f, int thread) override {
        auto& pairs = room[static_cast<size_t>(thread)];
        share(f, thread, rows(f), 1, 4, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r) choose(f.batch.logits + r * f.batch.logits_stride, r, pairs);
        });
    }
    void choose(const float* logits, int64_t r, std::vector<std::pair<float, int32_t>>& pairs) const {
        for (int64_t p = 0; p < num_pairs; ++p) {
            const int64_t last = std::min((p + 1) * kPairRows, vocabulary);
            float largest = -std::numeric_limits<float>::infinity();  // and where nothing is a number
            for (int64_t i = p * kPairRows; i < last; ++i) largest = logits[i] > largest ? logits[i] : largest;
            pairs[static_cast<size_t>(p)] = {-largest, static_cast<int32_t>(p)};
        }
        std::nth_element(pairs.begin(), pairs.begin() + (count - 1), pairs.end());
        int32_t* to = chosen + r * count;
        for (int64_t i = 0; i < count; ++i) to[i] = pairs[static_cast<size_t>(i)].second;
        std::sort(to, to + count);
    }
};

struct Rescore : Logits {
    const char* name() const override { return "rescore"; }
    int64_t count;
    const int32_t* chosen;
    void run(const Frame& f, int thread) override {
        const int64_t total = rows(f) * count;
        stream(f, thread, total, 4, [&](int64_t i, int64_t next) {
            const Ahead ahead = next < total ? ahead_of(*weight, 0, chosen[next]) : Ahead{};
            pair(f, chosen[i], i / count, 1, ahead);
        });
    }
    Ahead first_read(const Frame&, int) const override { return {}; }  // they are yet to be chosen
};

struct GateUp : Step {
    const char* name() const override { return "gate_up"; }
    bool reads_weights() const override { return true; }
    Slot in, up_in, out;
    LinearPart gate, up;
    Activation activation;
    void run(const Frame& f, int thread) override {
        const int64_t n = rows(f), total = out.width / kBlock;
        if (n <= kFewRows)
            return stream(f, thread, total, 1, [&](int64_t u, int64_t next) {
                unit(f.kernels, u, 0, n, next < total ? unit_at(next) : after(f, thread));
            });
        share(f, thread, total, 1, kFixedQuarters, [&](int64_t begin, int64_t end) {
            for (int64_t c = 0; c < n; c += kColumnBlock)
                for (int64_t u = begin; u < end; ++u)
                    unit(f.kernels, u, c, std::min(kColumnBlock, n - c), {});
        });
    }
    Ahead first_read(const Frame& f, int thread) const override {
        return unit_at(first_item(f, thread, out.width / kBlock));
    }
    Ahead unit_at(int64_t u) const { return ahead_of(gate.weight ? *gate.weight : *up.weight, 0, u); }
    // 32 hidden columns
    void unit(const Kernels& k, int64_t u, int64_t c, int64_t n, Ahead ahead) const {
        alignas(64) float g[kColumnBlock * kBlock], v[kColumnBlock * kBlock];
        project(k, gate, in, u, c, n, g, ahead.at ? ahead_of(*up.weight, 0, u) : Ahead{});
        project(k, up, up_in, u, c, n, v, ahead);
        for (int64_t i = 0; i < n; ++i) {
            float* h = row(out, c + i) + u * kBlock;
            k.activate[static_cast<int>(activation)](g + i * kBlock, v + i * kBlock, kBlock, h);
            if (out.int8_parts) quantize(k, h, out, c + i, u * kBlock, kBlock);
        }
    }
    void project(const Kernels& k, const LinearPart& p, const Slot& x, int64_t u, int64_t c, int64_t n,
                 float* y, Ahead ahead) const {
        if (!p.weight) return;
        multiply(k, *p.weight, 0, u, x, c, n, y, kPairRows, ahead);
        add_bias(y, n, kPairRows, p.bias ? p.bias + u * kPairRows : nullptr, kPairRows);
    }
};

}  // namespace

void Tape::embed(LookupTable table, LookupTable positions, int out) {
    const Matrix* places = positions.matrix.get();
    require(at(out).width == table.matrix->columns && (!places || at(out).width == places->columns),
            "embedding width must equal the slot's");
    if (places) rope_positions_ = std::min(rope_positions_, places->rows);
    vocabulary_ = table.matrix->rows;
    auto step = std::make_unique<Embed>();
    if (places) step->places = at(shared_slot("places", at(out).width, 0, 1));
    for (auto [lookup, from] : {std::pair{&step->tokens, &table}, std::pair{&step->positions, &positions}}) {
        if (from->file)
            lookup->tiles = static_cast<uint8_t*>(
                scratch(pool_->num_threads() * from->matrix->tile_stride));
        lookup->table = std::move(from->matrix);
        lookup->file = std::move(from->file);
    }
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

void Tape::norm(int in, const float* weight, const float* bias, float eps, int out) {
    require(at(in).width == at(out).width, "slots must have equal widths");
    auto step = std::make_unique<Norm>();
    step->in = at(in);
    step->out = at(out);
    step->weight = weight;
    step->bias = bias;
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
    require(outputs_selected_, "logits are of selected rows");
    logits_width_ = weight->num_tiles() * kTileRows;
    auto step = std::make_unique<Logits>();
    step->in = at(in);
    step->weight = std::move(weight);
    push(std::move(step));
}

void Tape::rescore(int in, std::shared_ptr<Matrix> weight, int64_t count) {
    require_input(in, *weight);
    require(logits_width_ == weight->num_tiles() * kTileRows, "a scan has the rows of its head");
    require(count >= 1, "at least one run of rows is done again");
    const int64_t pairs = num_pairs(*weight), chosen = std::min(count, pairs);
    auto choose = std::make_unique<ChooseRows>();
    choose->num_pairs = pairs;
    choose->vocabulary = weight->rows;
    choose->count = chosen;
    choose->chosen = static_cast<int32_t*>(scratch(max_rows_ * chosen * 4));
    choose->room.resize(static_cast<size_t>(pool_->num_threads()));
    for (auto& room : choose->room) room.resize(static_cast<size_t>(pairs));
    auto again = std::make_unique<Rescore>();
    again->in = at(in);
    again->weight = std::move(weight);
    again->count = chosen;
    again->chosen = choose->chosen;
    push(std::move(choose));
    push(std::move(again));
}

void Tape::gate_up(int in, const LinearPart& gate, int up_in, const LinearPart& up, Activation activation,
                   int out) {
    require((gate.weight == nullptr) == (activation == Activation::GeluTanh),
            "every activation but GELU takes a gate");
    for (const LinearPart* p : {&gate, &up}) {
        if (!p->weight) continue;
        require_input(p == &up ? up_in : in, *p->weight);
        require(at(out).width == p->weight->rows && p->weight->rows % kBlock == 0,
                "gate and up must have as many rows as the output is wide, a multiple of 32");
    }
    auto step = std::make_unique<GateUp>();
    step->in = at(in);
    step->up_in = at(up_in);
    step->out = at(out);
    step->gate = gate;
    step->up = up;
    step->activation = activation;
    push(std::move(step));
}

}  // namespace ingle
