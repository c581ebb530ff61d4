// Graph attention on the CPU: who does which rows, and in which order. See attention_reference.py for the meaning,
// rows.cpp for the loops. Arrays come as addresses that attention/cpu.py has checked.

#include <algorithm>
#include <string>
#include <vector>

#include "attention/rows.h"
#include "simd/interrupt.h"
#include "simd/memory.h"
#include "native.h"
#include "simd/parallel.h"

namespace {

using namespace graphnoise;
using namespace graphnoise::attention;
using Address = std::uintptr_t;

constexpr Index chunks = 64;             // tasks a pass, whatever the number of threads
constexpr Index least_chunk = 1 << 16;   // arcs and rows, times columns
constexpr Index serial_below = 1 << 18;  // arcs and rows, times columns, that do not pay for a second thread

Kernels kernels(const std::string &set, Index heads, Index width) {
#if defined(GRAPHNOISE_X86)
    if (set == "v4") return kernels_v4(heads, width);
    if (set == "v3") return kernels_v3(heads, width);
#endif
    if (set == "baseline") return kernels_baseline(heads, width);
    throw nb::value_error("an instruction set that this module does not have");
}

// How the rows are dealt: chunks of about equal arcs and rows; a row longer than a chunk is cut into pieces, which are
// joined in their order. Nothing here depends on the number of threads, so that no sum does.
struct Plan {
    std::vector<Task> tasks, pieces, joins;  // the pieces are among the tasks
};

Plan plan(const Index *rowptr, Index rows, Index columns) {
    Plan made;
    const Index chunk = std::max(least_chunk / columns, (rowptr[rows] + rows + chunks - 1) / chunks) + 1;
    Index piece = 0;
    for (Index begin = 0, end; begin < rows; begin = end) {
        const Index first = rowptr[begin], last = rowptr[begin + 1], count = (last - first + chunk - 1) / chunk;
        end = begin + 1;
        if (count > 1) {
            for (Index q = 0; q < count; ++q)
                made.pieces.push_back({first + (last - first) * q / count, first + (last - first) * (q + 1) / count,
                                       begin, piece + q, piece, piece + count});
            made.joins.push_back({first, last, begin, -1, piece, piece + count});
            piece += count;
        } else {
            while (end < rows && rowptr[end + 1] + end + 1 - first - begin <= chunk) ++end;
            made.tasks.push_back({begin, end, begin, -1, 0, 0});
        }
    }
    made.tasks.insert(made.tasks.begin(), made.pieces.begin(), made.pieces.end());
    return made;
}

// Runs passes over tasks, on some threads, until the user interrupts.
class Team {
  public:
    Team(int threads, Index heads)
        : threads_(threads), room_(10 * heads), scratch_(static_cast<std::size_t>(room_ * threads)) {}

    void pass(Run run, const Problem &p, const std::vector<Task> &tasks) {
        parallel(threads_, static_cast<Index>(tasks.size()), [&](int thread, Index t) {
            if (interrupt_.raised()) return;
            interrupt_.ask(thread);
            run(p, tasks[static_cast<std::size_t>(t)], scratch_.data() + thread * room_);
        });
    }
    bool interrupted() const { return interrupt_.raised(); }

  private:
    const int threads_;
    const Index room_;
    std::vector<float> scratch_;
    Interrupt interrupt_;
};

template <class T>
T *at(Address address) {
    return reinterpret_cast<T *>(address);
}

struct Room {  // for the pieces of a plan
    std::vector<float> sums, numbers;
    Room(const Plan &plan, const Problem &p)
        : sums(plan.pieces.size() * static_cast<std::size_t>(p.heads * p.width)),
          numbers(plan.pieces.size() * static_cast<std::size_t>(2 * p.heads)) {}
    Problem of(Problem p) {
        p.sums = sums.data(), p.numbers = numbers.data();
        return p;
    }
};

int team_of(const Index *rowptr, Index rows, Index columns, int threads) {
    return (rowptr[rows] + rows) * columns < serial_below ? 1 : threads;
}

void attend(const std::string &set, int threads, Index targets, Index heads, Index width, Address rowptr, Address col,
            Index prefetch, Address h, Address source, Address target, Address kept, float slope, Address bias,
            Address weight, Address out) {
    const Kernels run = kernels(set, heads, width);
    bool interrupted = false;
    {
        nb::gil_scoped_release release;
        Problem p{};
        p.heads = heads, p.width = width, p.rowptr = at<const Index>(rowptr), p.col = at<const Position>(col);
        p.prefetch = prefetch, p.h = at<const float>(h), p.source = at<const float>(source);
        p.target = at<const float>(target), p.kept = at<const float>(kept), p.slope = slope;
        p.bias = at<const float>(bias), p.weight = at<float>(weight), p.out = at<float>(out);
        const Index D = heads * width;
        in_large_pages(p.out, targets * D * 4);
        in_large_pages(p.weight, p.rowptr[targets] * heads * 4);
        const Plan rows = plan(p.rowptr, targets, D);
        Room room(rows, p);
        Team team(team_of(p.rowptr, targets, D, threads), heads);
        team.pass(run.forward, room.of(p), rows.tasks);
        team.pass(run.join_forward, room.of(p), rows.joins);
        interrupted = team.interrupted();
    }
    if (interrupted) throw nb::python_error();
}

void attend_backward(const std::string &set, int threads, Index targets, Index sources, Index heads, Index width,
                     Address rowptr, Address col, Address colptr, Address row, Address arc, Index prefetch, Address h,
                     Address source, Address target, Address kept, float slope, Address weight, Address grad,
                     Address score, Address to_h, Address to_source, Address to_target) {
    const Kernels run = kernels(set, heads, width);
    bool interrupted = false;
    {
        nb::gil_scoped_release release;
        Problem p{};
        p.heads = heads, p.width = width, p.rowptr = at<const Index>(rowptr), p.colptr = at<const Index>(colptr);
        p.col = at<const Position>(col), p.row = at<const Position>(row), p.arc = at<const Position>(arc);
        p.prefetch = prefetch, p.h = at<const float>(h), p.source = at<const float>(source);
        p.target = at<const float>(target), p.kept = at<const float>(kept), p.slope = slope;
        p.weight = at<float>(weight), p.grad = at<const float>(grad), p.score = at<float>(score);
        p.to_h = at<float>(to_h), p.to_source = at<float>(to_source), p.to_target = at<float>(to_target);
        const Index D = heads * width;
        in_large_pages(p.to_h, sources * D * 4);
        in_large_pages(p.score, p.rowptr[targets] * heads * 4);
        const Plan rows = plan(p.rowptr, targets, D), turned = plan(p.colptr, sources, D);
        Room by_target(rows, p), by_source(turned, p);
        Team team(team_of(p.rowptr, targets, D, threads), heads);
        team.pass(run.features, by_source.of(p), turned.tasks);
        team.pass(run.join_features, by_source.of(p), turned.joins);
        team.pass(run.means, by_target.of(p), rows.pieces);
        team.pass(run.scores, by_target.of(p), rows.tasks);
        team.pass(run.join_scores, by_target.of(p), rows.joins);
        team.pass(run.sources, by_source.of(p), turned.tasks);
        team.pass(run.join_sources, by_source.of(p), turned.joins);
        interrupted = team.interrupted();
    }
    if (interrupted) throw nb::python_error();
}

}  // namespace

void add_attention(nb::module_ &m) {
    m.def("attend", &attend);
    m.def("attend_backward", &attend_backward);
}
