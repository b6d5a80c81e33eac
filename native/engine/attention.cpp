// Steps that write keys and values into pages and attend to them.
#include "engine/step.h"

namespace ingle {
namespace {

void rotate(float* x, const float* cos, const float* sin, int half, bool interleaved) {
    for (int i = 0; i < half; ++i) {
        float& a = interleaved ? x[2 * i] : x[i];
        float& b = interleaved ? x[2 * i + 1] : x[i + half];
        const float first = a * cos[i] - b * sin[i];
        b = b * cos[i] + a * sin[i];
        a = first;
    }
}

// Norms and rotates q and k in place, then writes k and v into their page.
struct StoreKv : Step {
    const char* name() const override { return "store_kv"; }
    Slot qkv;
    AttentionShape s;
    RopeTable rope;
    HeadNorms norms;
    void run(const Frame& f, int thread) override {
        const int64_t heads = s.num_heads + s.num_kv_heads;
        share(f, thread, rows(f) * heads, 4, 4, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) one(f, i / heads, static_cast<int>(i % heads));
        });
    }
    void one(const Frame& f, int64_t r, int head) const {
        const BatchView& batch = f.batch;
        const int64_t position = batch.positions[r];
        const int half = s.head_dim / 2;
        float* x = row(qkv, r) + static_cast<int64_t>(head) * s.head_dim;
        const float* gain = head < s.num_heads ? norms.q : norms.k;
        if (gain) f.kernels.rms_norm(x, gain, s.head_dim, norms.eps, x);
        if (rope.cos)
            rotate(x, rope.cos + position * half, rope.sin + position * half, half, rope.interleaved);
        if (head < s.num_heads) return;
        const float* v = x + static_cast<int64_t>(s.num_kv_heads) * s.head_dim;
        const KvGroup& g = batch.groups[s.group];
        const int64_t page = g.page_tables[batch.sequences[r] * g.table_width + position / kPageTokens];
        const int64_t slot = position % kPageTokens;
        const int64_t offset = (s.layer * g.num_pages + page) * g.page_values +
                               static_cast<int64_t>(head - s.num_heads) * s.head_dim * kPageTokens;
        if (g.type == KvType::F32) {
            auto* keys = reinterpret_cast<float*>(g.keys) + offset + slot;
            for (int k = 0; k < s.head_dim; ++k) keys[k * kPageTokens] = x[k];
            std::memcpy(reinterpret_cast<float*>(g.values) + offset + slot * s.head_dim, v,
                        sizeof(float) * s.head_dim);
            return;
        }
        uint16_t rounded[kMaxHeadDim];
        f.kernels.round_f16(x, s.head_dim, rounded);
        auto* keys = reinterpret_cast<uint16_t*>(g.keys) + offset + slot;
        for (int k = 0; k < s.head_dim; ++k) keys[k * kPageTokens] = rounded[k];
        f.kernels.round_f16(v, s.head_dim, reinterpret_cast<uint16_t*>(g.values) + offset + slot * s.head_dim);
    }
};

struct Attend : Step {
    const char* name() const override { return "attend"; }
    Slot qkv, out;
    AttentionShape s;
    const float* sinks;
    bool quantizes;  // its own columns; else a step of its own follows
    float* states = nullptr;                     // (kMaxSpans, heads, span_state) of a lone row; or null
    std::unique_ptr<std::atomic<int64_t>[]> done;  // spans, of each KV head
    void run(const Frame& f, int thread) override {
        const int64_t spans = rows(f) == 1 ? span_index(f.batch.positions[0] / kPageTokens) + 1 : 1;
        if (states && f.num_threads > 1 && spans > 1 && spans <= kMaxSpans) return run_spans(f, thread, spans);
        const int64_t blocks = (rows(f) + kAttendRows - 1) / kAttendRows, n = blocks * s.num_kv_heads;
        // Later tokens see more keys: with many rows everything is handed out dynamically.
        share(f, thread, n, 1, blocks > 1 ? 0 : 4, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i)
                block(f, blocks - 1 - i / s.num_kv_heads, static_cast<int>(i % s.num_kv_heads));
        });
    }
    // A lone row's long context is shared out by spans; who ends a KV head's last one folds them.
    void run_spans(const Frame& f, int thread, int64_t spans) {
        const int64_t heads = s.num_heads / s.num_kv_heads, stride = s.num_heads * span_state(s.head_dim);
        share(f, thread, s.num_kv_heads * spans, 1, 3, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                const int64_t kv_head = i / spans, span = i % spans;
                float* mine = states + kv_head * heads * span_state(s.head_dim);
                const AttendArgs a = args(f, 0, 1, static_cast<int>(kv_head));
                f.kernels.attend_span[kv_type(f)](a, span_first_page(span), mine + span * stride);
                if (done[kv_head].fetch_add(1, std::memory_order_acq_rel) + 1 < spans) continue;
                done[kv_head].store(0, std::memory_order_relaxed);
                f.kernels.fold_spans(a, mine, spans, stride);
                finish(f, 0, 1, static_cast<int>(kv_head));
            }
        });
    }
    // Rows of a block, in runs of consecutive positions of one sequence.
    void block(const Frame& f, int64_t index, int kv_head) const {
        const BatchView& b = f.batch;
        const int64_t end = std::min((index + 1) * kAttendRows, rows(f));
        for (int64_t r = index * kAttendRows, next; r < end; r = next) {
            for (next = r + 1; next < end && b.sequences[next] == b.sequences[r] &&
                               b.positions[next] == b.positions[next - 1] + 1;) ++next;
            consecutive(f, r, next - r, kv_head);
        }
    }
    void consecutive(const Frame& f, int64_t r, int64_t count, int kv_head) const {
        f.kernels.attend[kv_type(f)](args(f, r, count, kv_head));
        finish(f, r, count, kv_head);
    }
    int kv_type(const Frame& f) const { return static_cast<int>(f.batch.groups[s.group].type); }
    AttendArgs args(const Frame& f, int64_t r, int64_t count, int kv_head) const {
        const int heads = s.num_heads / s.num_kv_heads;
        const int64_t width = static_cast<int64_t>(heads) * s.head_dim, first = kv_head * width;
        const KvGroup& g = f.batch.groups[s.group];
        const int64_t bytes = kv_value_bytes(g.type);
        const int64_t offset = bytes * (s.layer * g.num_pages * g.page_values +
                                        static_cast<int64_t>(kv_head) * s.head_dim * kPageTokens);
        AttendArgs a;
        a.q = row(qkv, r) + first;
        a.out = row(out, r) + first;
        a.q_stride = qkv.stride;
        a.out_stride = out.stride;
        a.num_rows = static_cast<int>(count);
        a.last = f.batch.positions[r];
        a.window = s.window;
        a.pages = g.page_tables + f.batch.sequences[r] * g.table_width;
        a.keys = g.keys + offset;
        a.values = g.values + offset;
        a.page_stride = bytes * g.page_values;
        a.sinks = sinks ? sinks + static_cast<int64_t>(kv_head) * heads : nullptr;
        a.scale = s.scale;
        a.heads = heads;
        a.head_dim = s.head_dim;
        return a;
    }
    void finish(const Frame& f, int64_t r, int64_t count, int kv_head) const {
        if (!quantizes) return;
        const int64_t width = int64_t{s.num_heads} / s.num_kv_heads * s.head_dim, first = kv_head * width;
        for (int64_t i = r; i < r + count; ++i)
            quantize(f.kernels, row(out, i) + first, out, i, first, width);
    }
};

// 8-bit form of whole rows, where the heads of one KV head do not fill whole blocks.
struct Quantize : Step {
    const char* name() const override { return "quantize"; }
    Slot slot;
    void run(const Frame& f, int thread) override {
        share(f, thread, rows(f), 4, 4, [&](int64_t begin, int64_t end) {
            for (int64_t r = begin; r < end; ++r)
                quantize(f.kernels, row(slot, r), slot, r, 0, slot.width);
        });
    }
};

}  // namespace

void Tape::require_shape(int qkv, const AttentionShape& s) const {
    require(s.num_kv_heads >= 1 && s.num_heads >= 1 && s.num_heads % s.num_kv_heads == 0,
            "query heads must be a multiple of key/value heads");
    require(s.head_dim >= 16 && s.head_dim <= kMaxHeadDim && s.head_dim % 16 == 0,
            "head_dim must be a multiple of 16, 16 to 256");
    require(at(qkv).width == (s.num_heads + 2 * s.num_kv_heads) * int64_t{s.head_dim},
            "qkv width must be (heads + 2 kv_heads) * head_dim");
}

void Tape::store_kv(int qkv, const AttentionShape& s, const RopeTable& rope, const HeadNorms& norms) {
    require_shape(qkv, s);
    if (rope.cos) rope_positions_ = std::min(rope_positions_, rope.positions);
    remember(s);
    auto step = std::make_unique<StoreKv>();
    step->qkv = at(qkv);
    step->s = s;
    step->rope = rope;
    step->norms = norms;
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

// Layers run one after another: those of one size share their states.
float* Tape::span_states(int64_t floats) {
    float*& states = span_states_[floats];
    if (!states) states = static_cast<float*>(scratch(kMaxSpans * floats * 4));
    return states;
}

void Tape::attend(int qkv, const AttentionShape& s, const float* sinks, int out) {
    const int64_t width = int64_t{s.num_heads} * s.head_dim;
    require(at(out).width == width, "attention output must be heads * head_dim wide");
    require_shape(qkv, s);
    remember(s);
    auto step = std::make_unique<Attend>();
    step->qkv = at(qkv);
    step->out = at(out);
    step->s = s;
    step->sinks = sinks;
    step->done = std::make_unique<std::atomic<int64_t>[]>(static_cast<size_t>(s.num_kv_heads));
    if (!s.window) step->states = span_states(int64_t{s.num_heads} * span_state(s.head_dim));
    step->quantizes = at(out).int8_parts && width / s.num_kv_heads % kBlock == 0;
    const bool quantized = step->quantizes || !at(out).int8_parts;
    push(std::move(step));
    if (quantized) return;
    auto rest = std::make_unique<Quantize>();
    rest->slot = at(out);
    push(std::move(rest));
}

}  // namespace ingle
