// Compares every kernel of every instruction set that runs here with `generic`, bit for bit.
//   kernels_test [ISA...]   exactly these must run here besides generic; exit 1 on any difference
#include <algorithm>
#include <vector>

#include "cases.h"
#include "kernels/dispatch.h"

namespace ingle::test {

namespace {

constexpr float kEdges[] = {0.0f, -0.0f, 0x1p-149f, -0x1p-149f, 0x1p-127f, 0x1p-126f, -0x1p-126f,
                            0x1.fffffep-1f, 1.0f, -1.0f, 127.0f, -87.3f, 88.0f, -1e4f, 1e4f, 0x1p60f,
                            -0x1p60f, 6.5e4f};
constexpr int kNumEdges = sizeof kEdges / sizeof *kEdges;
constexpr int kShown = 10;  // differences told one by one

uint32_t bits_of(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return x == x ? bits : 0x7FC00000u;
}

}  // namespace

void fill(Random& random, Data data, Guarded<float>& values) {
    for (int64_t i = 0; i < values.size(); ++i) {
        const float usual = random.uniform() * 4.0f;
        const float edge = kEdges[random.below(kNumEdges)];
        values[i] = data == Data::Zeros ? 0.0f : data == Data::Edge && random.below(4) ? edge : usual;
    }
}

void Comparison::count(const std::string& what, int64_t index, uint32_t ours, uint32_t generic) {
    ++values;
    digest = (digest ^ generic) * 0x100000001B3u;
    if (ours == generic) return;
    if (++different <= kShown)
        std::printf("  %s: %s [%lld] is %08x, generic has %08x\n", kernels.isa, what.c_str(),
                    static_cast<long long>(index), ours, generic);
}

void Comparison::expect(const std::string& what, Guarded<float>& ours, Guarded<float>& generic) {
    ++cases;
    for (int64_t i = 0; i < generic.size(); ++i)
        count(what, i, bits_of(ours[i]), bits_of(generic[i]));
}

bool compare(const Kernels& kernels) {
    Comparison comparison(kernels);
    matmul_cases(comparison);
    row_cases(comparison);
    attend_cases(comparison);
    std::printf("%s: %lld cases, %lld values, %lld differ; generic's digest %016llx\n", kernels.isa,
                static_cast<long long>(comparison.cases), static_cast<long long>(comparison.values),
                static_cast<long long>(comparison.different),
                static_cast<unsigned long long>(comparison.digest));
    return comparison.different == 0;
}

}  // namespace ingle::test

int main(int argc, char** argv) {
    std::vector<std::string> expected(argv + 1, argv + argc), found;
    bool equal = true;
    for (const ingle::IsaChoice& choice : ingle::isa_choices()) {
        if (!choice.available || choice.name == "generic") continue;
        found.push_back(choice.name);
        equal = ingle::test::compare(*ingle::find_kernels(choice.name)) && equal;
        std::fflush(stdout);
    }
    std::sort(expected.begin(), expected.end());
    std::sort(found.begin(), found.end());
    if (!expected.empty() && expected != found) {
        std::printf("the instruction sets that run here are not those asked for\n");
        return 1;
    }
    return equal ? 0 : 1;
}
