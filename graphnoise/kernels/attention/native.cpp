// Graph attention on the CPU: tasks and passes. reference.py defines the operation, rows.cpp has the loops. Arrays are passed
// as addresses that cpu.py has checked.

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

// Tasks per pass, for any number of threads.
constexpr Index chunks = 64;
// Arcs and rows, times columns.
constexpr Index min_chunk = 1 << 16;
// Arcs and rows, times columns, below which one thread is faster.
constexpr Index serial_below = 1 << 18;

Kernels kernels(const std::string &set, Index heads, Index width) {
#if defined(GRAPHNOISE_X86)
    if (set == "v4") return kernels_v4(heads, width);
    if (set == "v3") return kernels_v3(heads, width);
#endif
    if (set == "baseline") return kernels_baseline(heads, width);
    throw nb::value_error("an instruction set that this module does not have");
}

// Rows are divided into chunks of about equal numbers of arcs and rows; a row longer than a chunk is cut into pieces, which
// are joined in order. The plan does not depend on the number of threads, and so no sum does.
struct Plan {
    // `tasks` includes the pieces.
    std::vector<Task> tasks, pieces, joins;
};

Plan make_plan(const Index *rowptr, Index rows, Index columns) {
    Plan plan;
    const Index chunk = std::max(min_chunk / columns, (rowptr[rows] + rows + chunks - 1) / chunks) + 1;
    Index piece = 0;
    for (Index begin = 0, end; begin < rows; begin = end) {
        const Index first = rowptr[begin], last = rowptr[begin + 1], count = (last - first + chunk - 1) / chunk;
        end = begin + 1;
        if (count > 1) {
            for (Index q = 0; q < count; ++q)
                plan.pieces.push_back({first + (last - first) * q / count, first + (last - first) * (q + 1) / count,
                                       begin, piece + q, piece, piece + count});
            plan.joins.push_back({first, last, begin, -1, piece, piece + count});
            piece += count;
        } else {
            while (end < rows && rowptr[end + 1] + end + 1 - first - begin <= chunk) ++end;
            plan.tasks.push_back({begin, end, begin, -1, 0, 0});
        }
    }
    plan.tasks.insert(plan.tasks.begin(), plan.pieces.begin(), plan.pieces.end());
    return plan;
}

// Runs passes over tasks on a team of threads; stops when the user interrupts.
class Team {
  public:
    Team(int threads, Index heads)
        : threads_(threads), scratch_size_(10 * heads), scratch_(static_cast<std::size_t>(scratch_size_ * threads)) {}

    void pass(Run run, const Arguments &p, const std::vector<Task> &tasks) {
        parallel(threads_, static_cast<Index>(tasks.size()), [&](int thread, Index t) {
            if (interrupt_.raised()) return;
            interrupt_.ask(thread);
            run(p, tasks[static_cast<std::size_t>(t)], scratch_.data() + thread * scratch_size_);
        });
    }
    bool interrupted() const { return interrupt_.raised(); }

  private:
    const int threads_;
    const Index scratch_size_;
    std::vector<float> scratch_;
    Interrupt interrupt_;
};

// Memory for what the pieces of a plan leave behind.
struct PieceBuffers {
    std::vector<float> sums, numbers;
    PieceBuffers(const Plan &plan, const Arguments &p)
        : sums(plan.pieces.size() * static_cast<std::size_t>(p.heads * p.width)),
          numbers(plan.pieces.size() * static_cast<std::size_t>(2 * p.heads)) {}
    Arguments of(Arguments p) {
        p.sums = sums.data();
        p.numbers = numbers.data();
        return p;
    }
};

int team_size(const Index *rowptr, Index rows, Index columns, int threads) {
    return (rowptr[rows] + rows) * columns < serial_below ? 1 : threads;
}

void attend(const std::string &set, int threads, Index targets, const Arguments &p) {
    const Kernels run = kernels(set, p.heads, p.width);
    bool interrupted = false;
    {
        nb::gil_scoped_release release;
        const Index D = p.heads * p.width;
        in_large_pages(p.out, targets * D * 4);
        in_large_pages(p.weight, p.rowptr[targets] * p.heads * 4);
        const Plan rows = make_plan(p.rowptr, targets, D);
        PieceBuffers by_target(rows, p);
        Team team(team_size(p.rowptr, targets, D, threads), p.heads);
        team.pass(run.forward, by_target.of(p), rows.tasks);
        team.pass(run.join_forward, by_target.of(p), rows.joins);
        interrupted = team.interrupted();
    }
    if (interrupted) throw nb::python_error();
}

void attend_backward(const std::string &set, int threads, Index targets, Index sources, const Arguments &p) {
    const Kernels run = kernels(set, p.heads, p.width);
    bool interrupted = false;
    {
        nb::gil_scoped_release release;
        const Index D = p.heads * p.width;
        in_large_pages(p.to_h, sources * D * 4);
        in_large_pages(p.score, p.rowptr[targets] * p.heads * 4);
        const Plan rows = make_plan(p.rowptr, targets, D), columns = make_plan(p.colptr, sources, D);
        PieceBuffers by_target(rows, p), by_source(columns, p);
        Team team(team_size(p.rowptr, targets, D, threads), p.heads);
        team.pass(run.features, by_source.of(p), columns.tasks);
        team.pass(run.join_features, by_source.of(p), columns.joins);
        team.pass(run.means, by_target.of(p), rows.pieces);
        team.pass(run.scores, by_target.of(p), rows.tasks);
        team.pass(run.join_scores, by_target.of(p), rows.joins);
        team.pass(run.sources, by_source.of(p), columns.tasks);
        team.pass(run.join_sources, by_source.of(p), columns.joins);
        interrupted = team.interrupted();
    }
    if (interrupted) throw nb::python_error();
}

}  // namespace

void add_attention(nb::module_ &m) {
    nb::class_<Arguments> arguments(m, "AttendArguments");
    arguments.def(nb::init<>());
    def_field(arguments, "heads", &Arguments::heads);
    def_field(arguments, "width", &Arguments::width);
    def_field(arguments, "rowptr", &Arguments::rowptr);
    def_field(arguments, "colptr", &Arguments::colptr);
    def_field(arguments, "col", &Arguments::col);
    def_field(arguments, "row", &Arguments::row);
    def_field(arguments, "arc", &Arguments::arc);
    def_field(arguments, "prefetch", &Arguments::prefetch);
    def_field(arguments, "h", &Arguments::h);
    def_field(arguments, "source", &Arguments::source);
    def_field(arguments, "target", &Arguments::target);
    def_field(arguments, "factor", &Arguments::factor);
    def_field(arguments, "slope", &Arguments::slope);
    def_field(arguments, "weight", &Arguments::weight);
    def_field(arguments, "bias", &Arguments::bias);
    def_field(arguments, "out", &Arguments::out);
    def_field(arguments, "grad", &Arguments::grad);
    def_field(arguments, "score", &Arguments::score);
    def_field(arguments, "to_h", &Arguments::to_h);
    def_field(arguments, "to_source", &Arguments::to_source);
    def_field(arguments, "to_target", &Arguments::to_target);
    m.def("attend", &attend);
    m.def("attend_backward", &attend_backward);
}
