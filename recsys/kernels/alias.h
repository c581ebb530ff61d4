// Alias tables for weighted draws.

#pragma once

#include <vector>

#include "counter.h"

namespace recsys {

// Vose's method (1991): a column below the mean is filled up from one above it.
inline void fill_table(const double *weight, std::int64_t items, Column *columns) {
    double total = 0;
    for (std::int64_t j = 0; j < items; ++j) total += weight[j];
    std::vector<double> mass(static_cast<std::size_t>(items));
    std::vector<std::int32_t> small, large;
    for (std::int64_t j = 0; j < items; ++j) {
        double &share = mass[static_cast<std::size_t>(j)];
        share = total > 0 ? weight[j] / total * static_cast<double>(items) : 1;
        (share < 1 ? small : large).push_back(static_cast<std::int32_t>(j));
    }
    while (!small.empty() && !large.empty()) {
        const std::int32_t s = small.back(), l = large.back();
        small.pop_back();
        const double part = mass[static_cast<std::size_t>(s)];
        columns[s] = {static_cast<std::uint32_t>(part * 0x1p32), l};
        double &rest = mass[static_cast<std::size_t>(l)];
        rest = rest + part - 1;
        if (rest < 1) {
            large.pop_back();
            small.push_back(l);
        }
    }
    for (const std::int32_t j : large) columns[j] = {0xFFFFFFFFu, j};
    std::int32_t heaviest = 0;
    for (std::int32_t j = 1; j < items; ++j)
        if (weight[j] > weight[heaviest]) heaviest = j;
    // Columns left by rounding; an item of weight 0 is never drawn.
    for (const std::int32_t j : small)
        columns[j] = {weight[j] > 0 ? 0xFFFFFFFFu : 0u, weight[j] > 0 ? j : heaviest};
}

}  // namespace recsys
