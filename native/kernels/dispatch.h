// Chooses the kernels once, at load; INGLE_CPU (read by Python's env module) can force one set.
#pragma once
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace ingle {

struct IsaChoice {
    std::string name, reason;
    bool available;
};

std::vector<IsaChoice> isa_choices();           // best first, with why each can or cannot run here
const Kernels* find_kernels(const std::string& isa);  // null: unknown or not runnable here
const Kernels& best_kernels();

}  // namespace ingle
