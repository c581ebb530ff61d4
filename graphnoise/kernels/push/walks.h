// Push rules of both kinds of PageRank: the limit of mass, and what a push leaves at the node, adds to its value, and
// sends along an arc of weight 1.

#pragma once

#include <algorithm>
#include <limits>

#include "push/methods.h"

namespace graphnoise::local {

constexpr double infinite = std::numeric_limits<double>::infinity();

struct Pagerank {
    static constexpr bool loops = true, sinks = false;
    // `least`: eps times the lower bound of a degree under labels, as a part of the degree.
    double alpha, eps, least;
    Pagerank(const Settings &s, double share) : alpha(s.alpha), eps(s.eps), least(s.eps * share) {}
    static bool over(double here, double limit) { return here >= limit; }
    double limit(double degree) const { return eps * degree; }
    double lower_limit(double degree) const { return std::max(least * degree, std::numeric_limits<double>::min()); }
    double push(Mass &m, double &value, double degree, double) const {
        const double half = (1 - alpha) / 2 * m.here;
        value += alpha * m.here;
        m.here = half;
        return half / degree;
    }
};

// The residual is that of Pagerank. A push brings it to rho times the degree, where the gradient is that of the norm.
struct L1Pagerank {
    static constexpr bool loops = true, sinks = false;
    // eps: (1 + tol) rho.
    double alpha, rho, eps, least;
    L1Pagerank(const Settings &s, double share)
        : alpha(s.alpha), rho(s.eps), eps((1 + s.tol) * s.eps), least(eps * share) {}
    static bool over(double here, double limit) { return here > limit; }
    double limit(double degree) const { return eps * degree; }
    double lower_limit(double degree) const { return std::max(least * degree, std::numeric_limits<double>::min()); }
    double push(Mass &m, double &value, double degree, double) const {
        const double level = rho * degree, excess = m.here - level;
        value += 2 * alpha / (1 + alpha) * excess;
        m.here = level;
        return (1 - alpha) / (1 + alpha) * excess / degree;
    }
};

}  // namespace graphnoise::local
