#include "kernels/dispatch.h"

#if defined(INGLE_ARM64) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(INGLE_ARM64) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace ingle {
namespace {

#ifdef INGLE_X86
// __builtin_cpu_supports also checks that the operating system saves the wide registers.
bool has_avx2() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}
bool has_avx512vnni() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif

#ifdef INGLE_ARM64
bool has_neon_dotprod() {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__)
    int found = 0;
    size_t size = sizeof found;
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &found, &size, nullptr, 0) == 0 && found != 0;
#else
    return false;
#endif
}
#endif

}  // namespace

std::vector<IsaChoice> isa_choices() {
    std::vector<IsaChoice> list;
#ifdef INGLE_X86
    list.push_back({"avx512vnni", "needs AVX-512 F, BW, DQ, VL and VNNI", has_avx512vnni()});
    list.push_back({"avx2", "needs AVX2, FMA and F16C", has_avx2()});
#endif
#ifdef INGLE_ARM64
    list.push_back({"neondotprod", "needs the dot product instructions (ASIMDDP)", has_neon_dotprod()});
    list.push_back({"neon", "runs on every 64-bit Arm CPU", true});
#endif
    list.push_back({"generic", "runs everywhere", true});
    return list;
}

const Kernels* find_kernels(const std::string& isa) {
#ifdef INGLE_X86
    if (isa == "avx512vnni" && has_avx512vnni()) return &kernels_avx512vnni();
    if (isa == "avx2" && has_avx2()) return &kernels_avx2();
#endif
#ifdef INGLE_ARM64
    if (isa == "neondotprod" && has_neon_dotprod()) return &kernels_neon_dotprod();
    if (isa == "neon") return &kernels_neon();
#endif
    return isa == "generic" ? &kernels_generic() : nullptr;
}

const Kernels& best_kernels() {
    for (const IsaChoice& choice : isa_choices())
        if (choice.available) return *find_kernels(choice.name);
    return kernels_generic();
}

}  // namespace ingle
