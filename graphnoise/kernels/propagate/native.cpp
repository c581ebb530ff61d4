// Propagation on the CPU: steps, tasks, and the stopping criterion. reference.py defines the operation, rows.cpp has the
// loops. Arrays are passed as addresses that cpu.py has checked.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "simd/interrupt.h"
#if defined(GRAPHNOISE_X86)
#include "simd/levels.h"
#endif
#include "simd/memory.h"
#include "native.h"
#include "simd/parallel.h"
#include "propagate/rows.h"

namespace graphnoise {

// Arguments of `propagate`, filled by cpu.py; a null pointer is an array that is absent.
struct PropagateArguments {
    Type type;
    bool wide_index;
    // One step of a matrix with another number of columns: no residual, and the source or nothing is added.
    bool rectangular;
    // Rows of the result, and rows of `start`.
    Index nodes, start_rows, width;
    const Index *rowptr;
    // Order in which rows are processed.
    const std::int32_t *order;
    const void *col, *value, *left, *right, *start, *source;
    const unsigned char *mask;
    double alpha, beta, low, high, tol;
    // Steps before which `tol` does not end the call, and steps at most.
    Index min_steps, num_steps;
    // Where the call is a part of a longer one: steps taken before, steps of all calls, and rows and arcs of all parts.
    // 0 where it is not.
    Index done, planned, work;
    void *out, *other;
    int threads;
};

}  // namespace graphnoise

namespace {

using namespace graphnoise;
using Address = std::uintptr_t;

// Tasks per pass, for any number of threads.
constexpr Index chunks = 64;
// Arcs and rows.
constexpr Index min_chunk = 4096;
// Columns are readable that far beyond their end, and the rows of so many arcs are prefetched. Arcs with rows of up to two cache
// lines pass in less time than memory takes to answer: twice as many.
constexpr Index ahead = 64, short_row = 128;
// Bytes of values below which they stay in the cache of a core.
constexpr Index cached = 1 << 20;
// Arcs times columns below which one thread is faster.
constexpr Index serial_below = 1 << 18;

// The widest instruction set is last.
std::vector<const Kernels *> supported() {
    std::vector<const Kernels *> sets{&kernels_baseline()};
#if defined(GRAPHNOISE_X86)
    if (supports_v3()) sets.push_back(&kernels_v3());
    if (supports_v4()) sets.push_back(&kernels_v4());
#endif
    return sets;
}

std::atomic<const Kernels *> chosen{nullptr};

const Kernels &kernels() {
    if (!chosen.load(std::memory_order_acquire)) chosen.store(supported().back(), std::memory_order_release);
    return *chosen.load(std::memory_order_acquire);
}

// Rows are divided into chunks of about equal numbers of arcs and rows; a row longer than a chunk is cut into pieces, which
// are joined in order. The plan does not depend on the number of threads, and so no sum does.
struct Plan {
    std::vector<Task> tasks, joins;
    // Number of pieces of rows.
    Index pieces = 0;
    // Number of panels of columns, and their width.
    Index panels = 1, step = 1;
};

Plan make_plan(const Index *rowptr, Index rows, Index width, Index widest, Index work = 0) {
    Plan plan;
    if (work == 0) work = rowptr[rows] + rows;
    const Index chunk = std::max(min_chunk, (work + chunks - 1) / chunks);
    std::vector<Task> tasks, joins;
    Index begin = 0;
    while (begin < rows) {
        // Find the first row that does not fit into the chunk.
        const Index limit = rowptr[begin] + begin + chunk;
        Index low = begin, high = rows;
        while (low < high) {
            const Index middle = low + (high - low) / 2;
            if (rowptr[middle + 1] + middle + 1 > limit) high = middle; else low = middle + 1;
        }
        low = std::max(low, begin + 1);
        const Index first = rowptr[begin], last = rowptr[begin + 1];
        if (low == begin + 1 && last - first > chunk) {
            const Index pieces = (last - first + chunk - 1) / chunk;
            for (Index p = 0; p < pieces; ++p)
                tasks.push_back({Kind::piece, first + (last - first) * p / pieces,
                                first + (last - first) * (p + 1) / pieces, begin, plan.pieces + p, 0, 0});
            joins.push_back({Kind::join, plan.pieces, plan.pieces + pieces, begin, 0, 0, 0});
            plan.pieces += pieces;
        } else {
            tasks.push_back({Kind::rows, begin, low, 0, 0, 0, 0});
        }
        begin = low;
    }
    // Wide matrices are processed in panels of columns whose sums fit into registers.
    plan.panels = std::max<Index>(1, (width + widest - 1) / widest);
    const Index unit = std::min<Index>(widest, 16), even = (width + plan.panels - 1) / plan.panels;
    const Index step = plan.panels == 1 ? width : (even + unit - 1) / unit * unit;
    plan.step = step;
    for (Index column = 0; column < width; column += step)
        for (auto *list : {&tasks, &joins})
            for (Task task : *list) {
                task.column = column;
                task.width = std::min(step, width - column);
                (list == &tasks ? plan.tasks : plan.joins).push_back(task);
            }
    return plan;
}

// Return the number of arcs to prefetch: none if the values stay in the cache.
Index prefetched_arcs(Index rows, Index row_bytes) {
    return rows * row_bytes < cached ? 0 : row_bytes > short_row ? ahead : 2 * ahead;
}

Index size_of(Type type) { return type == Type::float64 ? 8 : type == Type::float32 ? 4 : 2; }

class Propagation {
  public:
    explicit Propagation(const PropagateArguments &p)
        : p_(p),
          plan_(make_plan(p.rowptr, p.nodes, p.width, kernels().widest(p.type, p.wide_index), p.work)),
          threads_((p.rowptr[p.nodes] + p.nodes) * p.width < serial_below ? 1 : p.threads),
          prefetch_(prefetched_arcs(p.start_rows, p.width * size_of(p.type))),
          partial_(static_cast<std::size_t>(plan_.pieces * p.width)) {}

    struct Result {
        Index steps;
        // NaN if any value was not finite.
        double residual;
        // Whether the values are in the buffer `other`, not in `out`.
        bool in_other;
    };

    Result operator()() {
        const bool early = p_.tol >= 0;
        const Index planned = std::max(p_.planned, p_.num_steps);
        double residual = std::numeric_limits<double>::infinity();
        Step s{};
        s.rowptr = p_.rowptr;
        s.col = p_.col;
        // Pieces of long rows are tasks of their own.
        s.order = plan_.pieces == 0 ? p_.order : nullptr;
        s.left = p_.left;
        s.source = p_.source;
        s.mask = p_.mask;
        s.from = p_.start;
        s.partial = partial_.data();
        s.width = p_.width;
        s.prefetch = prefetch_;
        s.readable = p_.rowptr[p_.nodes] + ahead;
        s.alpha = p_.alpha;
        s.beta = p_.beta;
        s.low = p_.low;
        s.high = p_.high;
        s.clamp = std::isfinite(p_.low) || std::isfinite(p_.high);
        for (Index k = 0; k < p_.num_steps; ++k) {
            const bool first = p_.done + k == 0, last = p_.done + k + 1 == planned;
            const bool in_other = (p_.num_steps - k) % 2 == 0;
            s.to = in_other ? p_.other : p_.out;
            s.residual = !p_.rectangular && (last || early);
            // The change shows values that are not finite, unless a clamp hides them.
            s.check = !p_.rectangular && first && (!s.residual || s.clamp);
            s.held = first ? nullptr : p_.right;
            s.scale = last ? nullptr : p_.right;
            s.per_source = first && p_.right;
            s.value = s.per_source ? p_.right : p_.value;
            const Outcome outcome = pass(plan_, s);
            if (interrupt_.raised()) return {k, 0, false};
            if (outcome.bad) return {k + 1, std::numeric_limits<double>::quiet_NaN(), in_other};
            if (last || (early && k + 1 >= p_.min_steps && outcome.residual <= p_.tol)) {
                if (s.scale) remove_scale(s);
                return {k + 1, outcome.residual, in_other != (s.scale != nullptr)};
            }
            s.from = s.to;
            residual = outcome.residual;
        }
        return {p_.num_steps, residual, false};
    }

    bool interrupted() const { return interrupt_.raised(); }

  private:
    Outcome pass(const Plan &plan, const Step &s) {
        Outcome all{0, false};
        for (auto *tasks : {&plan.tasks, &plan.joins}) {
            std::vector<Outcome> outcomes(tasks->size(), Outcome{0, false});
            parallel(threads_, static_cast<Index>(tasks->size()), [&](int thread, Index t) {
                if (interrupt_.raised()) return;
                interrupt_.ask(thread);
                const Task &task = (*tasks)[static_cast<std::size_t>(t)];
                kernels().rows(p_.type, p_.wide_index, s.value != nullptr, task.width)(s, task, outcomes[static_cast<std::size_t>(t)]);
            });
            for (const auto &outcome : outcomes) {
                all.residual = std::max(all.residual, outcome.residual);
                all.bad |= outcome.bad;
            }
        }
        return all;
    }

    // Write the iterate of an early stop, without its scale, into the other buffer: a step on a graph without arcs.
    void remove_scale(const Step &stopped) {
        const std::vector<Index> no_arcs(static_cast<std::size_t>(p_.nodes) + 1, 0);
        Step s{};
        s.rowptr = no_arcs.data();
        s.col = p_.col;
        s.width = p_.width;
        s.from = stopped.to;
        s.held = p_.right;
        s.beta = 1;
        // The division may leave the range by a rounding.
        s.clamp = stopped.clamp;
        s.low = stopped.low;
        s.high = stopped.high;
        s.to = stopped.to == p_.out ? p_.other : p_.out;
        pass(make_plan(no_arcs.data(), p_.nodes, p_.width, kernels().widest(p_.type, p_.wide_index)), s);
    }

    const PropagateArguments p_;
    const Plan plan_;
    const int threads_;
    const Index prefetch_;
    std::vector<double> partial_;
    Interrupt interrupt_;
};

nb::tuple propagate(const PropagateArguments &p) {
    Propagation::Result result{};
    bool interrupted = false;
    {
        nb::gil_scoped_release release;
        const Index bytes = p.nodes * p.width * size_of(p.type);
        for (void *buffer : {p.out, p.other}) in_large_pages(buffer, bytes);
        Propagation run(p);
        result = run();
        interrupted = run.interrupted();
    }
    if (interrupted) throw nb::python_error();
    return nb::make_tuple(result.steps, result.residual, result.in_other);
}

// Gradient of the arcs' values: alpha times the dot product of g's row and y's source row, at each arc.
void sddmm(int type, bool wide_index, Index nodes, Index width, Address rowptr, Address col, Address g, Address y,
            double alpha, Address out, int threads) {
    nb::gil_scoped_release release;
    const auto kind = static_cast<Type>(type);
    const auto *begin = reinterpret_cast<const Index *>(rowptr);
    const Plan plan = make_plan(begin, nodes, 1, 1);
    const auto run = kernels().sddmm(kind, wide_index);
    const Index prefetch = std::min(ahead, prefetched_arcs(nodes, width * size_of(kind)));
    if (begin[nodes] * width < serial_below) threads = 1;
    parallel(threads, static_cast<Index>(plan.tasks.size()), [&](int, Index t) {
        const Task &task = plan.tasks[static_cast<std::size_t>(t)];
        run(task, begin, reinterpret_cast<const void *>(col), reinterpret_cast<const void *>(g),
            reinterpret_cast<const void *>(y), width, alpha, prefetch, reinterpret_cast<void *>(out));
    });
}

// Lower bound on the time of a step: gathers and sums the same rows of `y`, and stores one number per row and panel.
void gather_floor(Address rowptr, Address col, Address y, Address out, Index nodes, Index width, int threads) {
    nb::gil_scoped_release release;
    Step s{};
    s.rowptr = reinterpret_cast<const Index *>(rowptr);
    s.col = reinterpret_cast<const void *>(col);
    s.from = reinterpret_cast<const void *>(y);
    s.width = width;
    s.prefetch = prefetched_arcs(nodes, width * 4);
    s.readable = s.rowptr[nodes] + ahead;
    Plan plan = make_plan(s.rowptr, nodes, width, kernels().widest(Type::float32, false));
    std::vector<double> partial(static_cast<std::size_t>(plan.pieces * width));
    std::vector<float> sums(static_cast<std::size_t>(nodes * (plan.tasks.empty() ? 0 : plan.panels)));
    s.partial = partial.data();
    s.to = sums.data();
    parallel(threads, static_cast<Index>(plan.tasks.size()), [&](int, Index t) {
        Task &task = plan.tasks[static_cast<std::size_t>(t)];
        Outcome outcome{};
        if (task.kind == Kind::rows) {
            task.kind = Kind::floor;
            task.piece = task.column / plan.step * nodes;
        }
        kernels().rows(Type::float32, false, false, task.width)(s, task, outcome);
    });
    std::copy_n(sums.data(), nodes, reinterpret_cast<float *>(out));
}

}  // namespace

void add_propagation(nb::module_ &m) {
    nb::class_<PropagateArguments> arguments(m, "PropagateArguments");
    arguments.def(nb::init<>());
    def_field(arguments, "type", &PropagateArguments::type);
    def_field(arguments, "wide_index", &PropagateArguments::wide_index);
    def_field(arguments, "rectangular", &PropagateArguments::rectangular);
    def_field(arguments, "nodes", &PropagateArguments::nodes);
    def_field(arguments, "start_rows", &PropagateArguments::start_rows);
    def_field(arguments, "width", &PropagateArguments::width);
    def_field(arguments, "rowptr", &PropagateArguments::rowptr);
    def_field(arguments, "order", &PropagateArguments::order);
    def_field(arguments, "col", &PropagateArguments::col);
    def_field(arguments, "value", &PropagateArguments::value);
    def_field(arguments, "left", &PropagateArguments::left);
    def_field(arguments, "right", &PropagateArguments::right);
    def_field(arguments, "start", &PropagateArguments::start);
    def_field(arguments, "source", &PropagateArguments::source);
    def_field(arguments, "mask", &PropagateArguments::mask);
    def_field(arguments, "alpha", &PropagateArguments::alpha);
    def_field(arguments, "beta", &PropagateArguments::beta);
    def_field(arguments, "low", &PropagateArguments::low);
    def_field(arguments, "high", &PropagateArguments::high);
    def_field(arguments, "tol", &PropagateArguments::tol);
    def_field(arguments, "min_steps", &PropagateArguments::min_steps);
    def_field(arguments, "num_steps", &PropagateArguments::num_steps);
    def_field(arguments, "done", &PropagateArguments::done);
    def_field(arguments, "planned", &PropagateArguments::planned);
    def_field(arguments, "work", &PropagateArguments::work);
    def_field(arguments, "out", &PropagateArguments::out);
    def_field(arguments, "other", &PropagateArguments::other);
    def_field(arguments, "threads", &PropagateArguments::threads);
    m.def("propagate", &propagate);
    m.def("sddmm", &sddmm);
    m.def("gather_floor", &gather_floor);
    m.def("instruction_set", [] { return kernels().name; });
    m.def("instruction_sets", [] {
        nb::list names;
        for (const auto *set : supported()) names.append(set->name);
        return names;
    });
    m.def("use_instruction_set", [](const std::string &name) {
        for (const auto *set : supported())
            if (name == set->name) return chosen.store(set, std::memory_order_release);
        throw nb::value_error("an instruction set that this processor does not have");
    });
}
