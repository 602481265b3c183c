// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Tensors, phases, fused messages, state. Phases outermost, tensors innermost: phase j of all tensors of a lane is one
/// message.

#include <gradpress/communicate/adapt.hpp>
#include <gradpress/communicate/link.hpp>
#include <gradpress/compressor.hpp>
#include <gradpress/concepts/schedule.hpp>
#include <gradpress/concepts/scope.hpp>
#include <gradpress/core/checkpoint.hpp>
#include <gradpress/core/consensus.hpp>
#include <gradpress/core/measurement.hpp>
#include <gradpress/kernel/norm.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace gradpress {

/// Settings that must be equal on all ranks.
struct reducer_options {
  std::uint64_t seed = 0;  ///< of every random number
  /// What collectives cost here, for `automatic`; measured when it is needed and not given.
  std::optional<link_costs> link{};
};

/// What happened so far on this rank. Counts grow from the reducer's creation or the last `reset_statistics`.
struct statistics {
  std::uint64_t steps = 0;
  std::uint64_t bytes_sent = 0;     ///< this rank's contribution to its collectives; ranks of a tree differ
  std::uint64_t dense_bytes = 0;    ///< what the same gradients are as floats: n x 4
  std::uint64_t messages = 0;       ///< collectives called for gradients
  std::uint64_t sent_dense = 0;     ///< times that a tensor of a compressing method travelled whole instead
  std::uint64_t redrawn = 0;        ///< columns of low-rank factors that had vanished and were drawn anew
  std::uint64_t control_bytes = 0;  ///< agreement before and vote after each step, and sums that `watch` asks for
  double encode_seconds = 0, exchange_seconds = 0, decode_seconds = 0;

  /// Dense bytes over bytes sent; 0 before the first step.
  [[nodiscard]] double ratio() const noexcept {
    return bytes_sent == 0 ? 0 : static_cast<double>(dense_bytes) / static_cast<double>(bytes_sent);
  }
};

/// What is measured of a watched tensor beyond what costs little.
struct watch_options {
  /// The ratio of the gTop-k assumption. Costs a dense all-reduce and 4 bytes an element; all ranks must ask for it.
  bool assumption = false;
  /// The sum of all ranks' signals. The same sum at the same cost: once, where both are asked for.
  bool signals = false;
};

/// Averages gradients over the ranks of a communicator, each tensor by its own method.
///
/// - Ranks     every rank adds the same tensors with the same methods, in any order, and calls `average` equally often
///             with the same tensors staged. Two small collectives a step (80 and 16 bytes a rank) agree on this before
///             the first byte and on success before anything changes; a difference is the same exception on all ranks.
/// - Errors    after any exception gradients, memories, factors and the step number are as before the call.
/// - Memory    4 bytes an element of state where there is error feedback and as much again as workspace; messages; no
///             allocation after the first step, but for the fourth where `automatic` then chooses another way, and where
///             messages of variable size become longer than any before.
/// - Threads   one reducer a thread; several reducers may live in one process.
template <class Exec>
class reducer {
  static_assert(on_host<Exec>, "reducer: runs on host execution spaces; see docs/device.md for the device kernels.");

  struct lane {
    std::vector<std::unique_ptr<letter<Exec>>> letters;  // one a phase: messages live until the commit
    message_kind kind;
    virtual ~lane() = default;
    virtual void run(step<Exec> const&, transport&, letter<Exec>&) const = 0;
    int way = 0;  // of an exchange that has several
    [[nodiscard]] virtual std::span<std::string_view const> ways() const { return {}; }
    [[nodiscard]] virtual double forecast(int, link_costs const&, message_load const&) const { return 0; }
    letter<Exec>& at(int phase) {
      while (letters.size() <= static_cast<std::size_t>(phase)) letters.push_back(std::make_unique<letter<Exec>>(kind));
      return *letters[static_cast<std::size_t>(phase)];
    }
  };
  template <class X>
  struct lane_of final : lane {
    X exchange;
    explicit lane_of(X const& x, message_kind k) : exchange(x) { this->kind = k; }
    void run(step<Exec> const& ctx, transport& t, letter<Exec>& l) const override { exchange.run(ctx, t, l); }
    std::span<std::string_view const> ways() const override {
      if constexpr (weighs_dense<X>)
        return this->kind.combines == combination::merge ? X::ways : std::span(X::ways).first(1);
      return {};
    }
    double forecast([[maybe_unused]] int w, [[maybe_unused]] link_costs const& c,
                    [[maybe_unused]] message_load const& m) const override {
      if constexpr (weighs_dense<X>) return X::forecast(static_cast<typename X::way>(w), c, m);
      return 0;
    }
  };
  struct unit;
  /// What the user named.
  struct member {
    std::string name;
    shape dims;
    unit* of = nullptr;
    std::size_t offset = 0;  // in its unit
    std::string method;      // and, of a group, the place in it: ranks must agree on both
    float* gradient = nullptr;
    bool staged = false;
  };
  /// A knob that is a value of the step number.
  struct followed {
    std::string knob;  // with its policy's name
    std::function<double(std::uint64_t)> value;
    double applied;
  };
  /// Who is told of a tensor's steps, and what there is to tell.
  struct watched {
    std::function<void(measurement const&)> tell;
    watch_options what;
    measurement now;
    buffer<Exec> sum;  // of all ranks' signals
    [[nodiscard]] bool sums() const { return what.assumption || what.signals; }
  };
  /// What `automatic` knows of a tensor.
  struct weighed {
    int steps = 0;  // compressed ones since it was added or a knob of it changed
    bool done = false;
    double seconds = 0;     // of the codec, in the step under way
    double codec = 0;       // the shortest of them, but for the first, which meets cold memory
    std::size_t bytes = 0;  // of its last message
    std::string why = "all_gather: not yet weighed";
  };
  using texts = std::map<std::string, std::string>;
  /// What is compressed as one: a tensor, or a group of them end to end.
  struct unit {
    std::string name;
    std::string method;       // as it was added
    texts as_added, changed;  // knobs that have another value now: what it was, and what it is
    std::vector<followed> schedules;
    std::unique_ptr<watched> watch;  // null unless somebody watches
    shape dims;
    std::uint64_t key = 0;
    std::unique_ptr<coder<Exec>> live;
    std::vector<lane*> lanes;         // one a phase of a round
    std::unique_ptr<weighed> choice;  // null unless the exchange weighs its ways
    lane* dense = nullptr;            // where it travels dense, if it may
    bool dense_now = false;
    // The last of them, by the exchange's knobs as they are now.
    lane* (*find_payload)(reducer&, unit const&) = nullptr;
    std::vector<member*> members;
    buffer<Exec> joined;  // of a group whose gradients do not lie end to end
    float* gradient = nullptr;
    bool staged = false, committed = false;
    std::size_t section = 0;  // in the current phase's letter; at the commit, in the last one
  };

  Exec exec_;
  std::unique_ptr<transport> comm_;
  reducer_options options_;
  std::uint64_t number_ = 0;
  std::vector<std::unique_ptr<member>> tensors_;  // in the order of registration, which may differ between ranks
  std::vector<std::unique_ptr<unit>> units_;      // by name: the order of every message
  std::vector<member*> by_name_;
  std::map<std::string, std::unique_ptr<lane>> lanes_;  // by text: the same order on all ranks
  std::unique_ptr<arena<Exec>> arena_ = std::make_unique<arena<Exec>>();
  consensus consensus_;
  failure failure_;
  statistics statistics_;
  std::unique_ptr<counted_transport> counted_;  // null unless somebody watches
  std::string declared_;
  bool can_roll_back_ = false;
  float learning_rate_ = 0;  // before anybody said: 0

 public:
  /// Names a tensor of one reducer.
  struct tensor {
    std::size_t index = 0;
  };

  /// An lvalue communicator is referred to and must outlive the reducer; an rvalue is moved in.
  template <class C>
  requires(explain_communicator<std::remove_cvref_t<C>>()) reducer(Exec exec, C&& comm, reducer_options options = {})
      : exec_(exec), comm_(std::make_unique<transport_of<C>>(std::forward<C>(comm))), options_(options) {
    if (!usable_here<Exec>())
      throw configuration_error(std::string("gradpress: rank ") + std::to_string(rank()) + ": this Kokkos serves " +
                                Exec::name() + " to the thread that initialised it, and this is another; call " +
                                "Kokkos::initialize() first, and give ranks that are threads gradpress::serial.");
  }

  [[nodiscard]] int rank() const { return comm_->rank(); }
  [[nodiscard]] int size() const { return comm_->size(); }

  /// A tensor that travels dense, fused with all others that do.
  tensor add(std::string name, std::size_t rows, std::size_t cols = 1) {
    return add(std::move(name), rows, cols, compress_with());
  }
  /// A tensor and its method. The name keys its state and its random numbers; names are unique.
  template <concepts::method Method>
  tensor add(std::string name, std::size_t rows, std::size_t cols, Method const& method) {
    check_new(name, rows, cols, method);
    auto* const u = new_unit(name, {rows, cols}, method);
    return new_member(std::move(name), u, u->dims, 0);
  }

  /// The same for one column.
  template <concepts::method Method>
  tensor add(std::string name, std::size_t n, Method const& method) {
    return add(std::move(name), n, 1, method);
  }

  /// The same for a tensor of any number of dimensions, row-major: as matrix the first extent by the product of the
  /// others, {64, 3, 7, 7} is 64 x 147.
  template <class... Method>
  tensor add(std::string name, std::span<std::size_t const> extents, Method const&... method) {
    auto const d = matrix_of(extents);
    return add(std::move(name), d.rows, d.cols, method...);
  }
  template <class... Method>
  tensor add(std::string name, std::initializer_list<std::size_t> extents, Method const&... method) {
    return add(std::move(name), std::span(extents.begin(), extents.size()), method...);
  }

  /// A tensor of a group.
  struct part_of_group {
    std::string name;
    std::size_t rows = 0, cols = 1;
  };
  /// Tensors that are compressed as one vector, in this order, and travel whole: `top_k` of a group keeps its k largest
  /// entries, wherever they are; one pass and one message serve many small tensors. Each keeps its own name in
  /// checkpoints, so that they may be grouped in another way later. Costs a copy of the gradients, 8 bytes an element
  /// each way, unless they lie end to end in memory. Returns the tensors, to be staged one by one.
  template <concepts::method Method>
  std::vector<tensor> add_group(std::string const& group, std::vector<part_of_group> const& parts,
                                Method const& method) {
    static_assert(Method::facts.keeps_coordinates,
                  "reducer::add_group: this projector needs each matrix on its own; add its tensors one by one.");
    std::size_t n = 0;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      check_new(parts[i].name, parts[i].rows, parts[i].cols, method);
      n += parts[i].rows * parts[i].cols;
      check_unique(parts, i, "group '" + group + "'");
    }
    check_new(group, n, 1, method);
    if (std::any_of(parts.begin(), parts.end(), [&](auto const& p) { return p.name == group; }))
      throw configuration_error("gradpress: rank " + std::to_string(rank()) + ": group '" + group +
                                "' and a tensor of it have the same name; names key the state");
    auto* const u = new_unit(group, {n, 1}, method);
    u->joined = kernel::zeros(exec_, "gradpress::group", n);
    std::vector<tensor> all;
    std::size_t offset = 0;
    for (auto const& p : parts) {
      all.push_back(new_member(p.name, u, {p.rows, p.cols}, offset));
      offset += p.rows * p.cols;
    }
    return all;
  }

  /// Tensors by one method, grouped as a scope says: `per_tensor`, `per_bucket` or `per_model`. The same as `add` and
  /// `add_group` call by call; a group is called by its first and last tensor, "conv1..fc". Returns the tensors in the
  /// order of `parts`. Throws `configuration_error` and has then added nothing.
  template <class Scope, concepts::method Method>
  std::vector<tensor> add_all(std::vector<part_of_group> const& parts, Method const& method, Scope const& of) {
    static_assert(explain_scope<Scope>());
    static_assert(Method::facts.keeps_coordinates || !Scope::groups_tensors,
                  "reducer::add_all: this projector needs each matrix on its own; use the scope per_tensor.");
    std::vector<std::size_t> sizes;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      check_new(parts[i].name, parts[i].rows, parts[i].cols, method);
      check_unique(parts, i, "the list");
      sizes.push_back(parts[i].rows * parts[i].cols);
    }
    std::vector<tensor> all;
    std::size_t from = 0;
    for (auto const count : of.groups(sizes)) {
      auto const first = parts.begin() + static_cast<std::ptrdiff_t>(from);
      if constexpr (Scope::groups_tensors) {
        std::vector<part_of_group> const group(first, first + static_cast<std::ptrdiff_t>(count));
        auto const added = count == 1 ? std::vector{add(first->name, first->rows, first->cols, method)}
                                      : add_group(first->name + ".." + group.back().name, group, method);
        all.insert(all.end(), added.begin(), added.end());
      } else {
        all.push_back(add(first->name, first->rows, first->cols, method));
      }
      from += count;
    }
    return all;
  }

  /// Changes a knob of a tensor's method, from the next step on: "density", or "top_k.density" where several of its
  /// policies have a knob of that name. All ranks must do so before the same step; the next `average` compares.
  /// Memories stay and workspace is sized anew. Of a group it changes for all tensors. Ends a schedule that the knob
  /// followed. Throws `configuration_error` that says what is legal, and has then changed nothing.
  void set(tensor t, std::string_view knob, double value) { set(t, knob, number_text(value)); }
  /// The same by text, for knobs that are names: `set(t, "dropped", "published")`.
  void set(tensor t, std::string_view knob, std::string_view value) { change_by_user(t, knob, value); }
  /// Lets a knob follow a schedule, a callable from the step number to its value. It is asked at the start of every
  /// step, so that a resumed or repeated step has the value of its number; nothing happens where the value is the same.
  /// A value that is not legal fails its step on all ranks.
  template <class S>
  requires(explain_schedule<S>()) void follow(tensor t, std::string_view knob, S schedule) {
    if constexpr (requires { schedule.check(); }) schedule.check();
    auto const value = static_cast<double>(schedule(number_));
    auto name = change_by_user(t, knob, number_text(value)).name;
    tensors_[t.index]->of->schedules.push_back({std::move(name), std::move(schedule), value});
  }

  /// The learning rate of the next steps, for memories in units of the model: what they keep is worth the same step of
  /// the model after a change. Others do not ask. All ranks must say the same before the same step; the next `average`
  /// compares. Throws `configuration_error` unless it is a positive number, and has then changed nothing.
  void learning_rate(double rate) {
    learning_rate_ = checked_rate(rate);
    for (auto& u : units_) tell_rate(*u, learning_rate_);
  }
  /// The same for one tensor, or the group that it belongs to, where parameters have rates of their own.
  void learning_rate(tensor t, double rate) {
    if (t.index >= tensors_.size())
      throw configuration_error("gradpress: rank " + std::to_string(rank()) +
                                ": a learning rate was set of a tensor that this reducer does not know");
    tell_rate(*tensors_[t.index]->of, checked_rate(rate));
  }

  /// Calls observer(measurement) at the end of every step of this tensor, or of the group that it belongs to; after the
  /// step stands, so what the observer throws leaves `average` and undoes nothing. A null observer ends it. One
  /// observer a tensor. Costs a few passes over the tensor and the clock; nothing where nobody watches.
  void watch(tensor t, std::function<void(measurement const&)> observer, watch_options options = {}) {
    if (t.index >= tensors_.size())
      throw configuration_error("gradpress: rank " + std::to_string(rank()) +
                                ": a tensor was to be watched that this reducer does not know");
    auto& u = *tensors_[t.index]->of;
    u.watch.reset();
    if (observer) {
      u.watch = std::make_unique<watched>();
      u.watch->tell = std::move(observer);
      u.watch->what = options;
      if (u.watch->sums()) u.watch->sum = unwritten<Exec>("gradpress::sum", u.dims.size());
    }
    for (auto* m : u.members) label(*m);
    bool const any = std::any_of(units_.begin(), units_.end(), [](auto const& v) { return v->watch != nullptr; });
    if (!any) counted_.reset();
    if (any && counted_ == nullptr) counted_ = std::make_unique<counted_transport>(*comm_);
  }

  /// Hands in a gradient of rows x cols floats, row-major; it must stay valid until `average` returns.
  void stage(tensor t, float* gradient) {
    stage(t, gradient, t.index < tensors_.size() ? tensors_[t.index]->dims.size() : 0);
  }
  /// The same, with its size checked; a mistake here is reported by `average` on all ranks.
  void stage(tensor t, std::span<float> gradient) { stage(t, gradient.data(), gradient.size()); }
  template <class... P>
  void stage(tensor t, Kokkos::View<P...> const& gradient) {
    static_assert(std::is_same_v<typename Kokkos::View<P...>::value_type, float>,
                  "reducer::stage: the view must hold float, and not const.");
    if (!gradient.span_is_contiguous()) return fail_stage(t, "the view is not contiguous; copy it into one that is");
    stage(t, gradient.data(), gradient.size());
  }

  /// Lets the next `average` fail on all ranks, for a tensor that this rank cannot stage: others may have.
  void fail(tensor t, std::string const& why) { fail_stage(t, why); }

  /// Replaces every staged gradient by its mean over the ranks, in place.
  ///
  /// Throws the same exception on all ranks: `configuration_error` (ranks differ, wrong sizes), `non_finite_error`,
  /// `payload_error`; `communicator_error` where the transport failed. Nothing has changed then.
  void average() {
    try {
      follow_schedules();
      if (counted_ != nullptr) begin_measuring();
      agree();
      weigh();
      begin();
      int const phases = most_phases();
      for (int phase = 0; phase < phases; ++phase) run_phase(phase);
      if (counted_ != nullptr) add_signals();
      vote();
    } catch (communicator_error const& e) {
      comm_->abandon(e.what());
      unstage();
      throw;
    } catch (...) {
      unstage();
      throw;
    }
    commit();
  }
  void average(tensor t, float* gradient) {
    stage(t, gradient);
    average();
  }
  void average(tensor t, std::span<float> gradient) {
    stage(t, gradient);
    average();
  }

  /// Takes the last step's memories, factors and step number back, as if it had been skipped; gradients stay as they
  /// are. All ranks must do so. Once a step; throws `state_error` if there is nothing to take back.
  void rollback() {
    if (!can_roll_back_)
      throw state_error("gradpress: rank " + std::to_string(rank()) +
                        ": there is no step to roll back; call rollback at most once, right after average");
    for (auto const& u : units_)
      if (u->committed) u->live->undo();
    --number_;
    can_roll_back_ = false;
  }

  /// Text that must be equal on all ranks, compared before every step as methods are: what uses this reducer, and how.
  void declare(std::string text) { declared_ = std::move(text); }

  /// What of a tensor's gradients was not delivered yet, one float an element: what is added to the next gradient. Empty
  /// where its method has no such memory. It may be written between steps, and a rollback then takes back the last
  /// step and what was written. Valid until the next `average` or `rollback`.
  [[nodiscard]] buffer<Exec> residual(tensor t) {
    auto const& m = *tensors_.at(t.index);
    auto const all = m.of->live->residual(context(*m.of, 0));
    arena_->release();
    return all.extent(0) == 0 ? all : part_of(all, m);
  }

  /// Writes this rank's memories and factors, keyed by tensor name. A file a rank.
  void save(std::ostream& to) { checkpoint::write(to, header(), fields(), changed_knobs()); }
  /// Reads what `save` wrote on this rank number of a world of this size, knobs as they were set then included. All or
  /// nothing; throws `state_error`.
  void load(std::istream& from) {
    std::vector<texts> before;
    for (auto const& u : units_) before.push_back(u->changed);
    try {
      number_ = checkpoint::read(from, header(), [this](auto const& saved) {
                  take_knobs(saved);
                  return fields();
                }).step;
    } catch (...) {
      for (std::size_t i = 0; i < units_.size(); ++i) move_knobs(*units_[i], before[i]);
      throw;
    }
    can_roll_back_ = false;
    for (auto& m : tensors_) label(*m);
    for (auto& u : units_)
      for (auto& f : u->schedules) f.applied = std::numeric_limits<double>::quiet_NaN();
  }

  [[nodiscard]] statistics const& stats() const noexcept { return statistics_; }
  void reset_statistics() noexcept { statistics_ = {}; }
  [[nodiscard]] std::uint64_t step_number() const noexcept { return number_; }
  [[nodiscard]] std::uint64_t seed() const noexcept { return options_.seed; }
  [[nodiscard]] Exec const& space() const noexcept { return exec_; }
  /// Fused messages a phase: how many groups of tensors cannot travel together.
  [[nodiscard]] std::size_t lanes() const noexcept { return lanes_.size(); }
  /// How a tensor whose exchange is `automatic` travels, and why: "dense: ..." or the name of an exchange and the times
  /// that were expected. Empty for any other.
  [[nodiscard]] std::string choice(tensor t) const {
    auto const& c = tensors_.at(t.index)->of->choice;
    return c == nullptr ? std::string() : c->why;
  }
  /// Its policies and their knobs as they are now.
  [[nodiscard]] std::string method(tensor t) const { return tensors_.at(t.index)->of->live->text(); }
  /// One of them, as text that `set` takes; `configuration_error` as there.
  [[nodiscard]] std::string knob(tensor t, std::string_view name) const {
    try {
      return tensors_.at(t.index)->of->live->value(name);
    } catch (configuration_error const& e) {
      throw configuration_error(at_tensor(tensors_[t.index]->name) + e.what());
    }
  }
  [[nodiscard]] std::string const& name(tensor t) const { return tensors_.at(t.index)->name; }
  [[nodiscard]] shape dims(tensor t) const { return tensors_.at(t.index)->dims; }
  /// Calls v(name, buffer) for each piece of a tensor's state that has one number an element: its memories. A checkpoint
  /// holds factors and thresholds, too.
  void visit(tensor t, typename coder<Exec>::visitor const& v) {
    auto const& m = *tensors_.at(t.index);
    m.of->live->visit(context(*m.of, 0), [&](char const* name, buffer<Exec> b) {
      if (b.extent(0) == m.of->dims.size()) v(name, part_of(b, m));
    });
    arena_->release();
  }

 private:
  using clock = std::chrono::steady_clock;
  static double since(clock::time_point start) { return std::chrono::duration<double>(clock::now() - start).count(); }

  step<Exec> context(unit const& u, int phase) const {
    return {exec_, options_.seed, number_, u.key, comm_->rank(), comm_->size(), phase, 0, arena_.get()};
  }
  step<Exec> context(int phase) const {
    return {exec_, options_.seed, number_, 0, comm_->rank(), comm_->size(), phase, 0, arena_.get()};
  }

  template <class X>
  lane* lane_for(X const& x, message_kind kind) {
    auto& slot = lanes_[describe(x) + " / " + describe(kind)];
    if (!slot) slot = std::make_unique<lane_of<X>>(x, kind);
    return slot.get();
  }

  template <concepts::method Method>
  unit* new_unit(std::string const& name, shape dims, Method const& method) {
    auto u = std::make_unique<unit>();
    u->name = name;
    u->dims = dims;
    u->method = method.text();
    u->key = digest{}.add(name).value();
    using worker = tensor_coder<Exec, Method>;
    u->live = std::make_unique<worker>(method, context(*u, 0), dims);
    u->live->learning_rate(learning_rate_);
    arena_->release();
    if constexpr (Method::facts.leads) u->lanes.push_back(lane_for(all_gather{}, support_kind));
    if constexpr (Method::facts.agrees) u->lanes.push_back(lane_for(all_reduce{}, agreement_kind));
    u->find_payload = [](reducer& r, unit const& of) {
      auto const& now = static_cast<worker const&>(*of.live).current();
      return r.lane_for(now.exchange, now.kind);
    };
    u->lanes.push_back(u->find_payload(*this, *u));
    if constexpr (Method::facts.weighs) u->choice = std::make_unique<weighed>();
    if (u->choice != nullptr || Method::facts.goes_whole) u->dense = lane_for(all_reduce{}, dense_kind);
    can_roll_back_ = false;
    auto const at = std::upper_bound(units_.begin(), units_.end(), u,
                                     [](auto const& a, auto const& b) { return a->name < b->name; });
    return units_.insert(at, std::move(u))->get();
  }
  tensor new_member(std::string name, unit* of, shape dims, std::size_t offset) {
    auto m = std::make_unique<member>();
    m->name = std::move(name);
    m->dims = dims;
    m->of = of;
    m->offset = offset;
    label(*m);
    of->members.push_back(m.get());
    by_name_.insert(std::upper_bound(by_name_.begin(), by_name_.end(), m.get(),
                                     [](member* a, member* b) { return a->name < b->name; }),
                    m.get());
    tensors_.push_back(std::move(m));
    return {tensors_.size() - 1};
  }
  /// What ranks compare of a tensor.
  void label(member& m) const {
    m.method = m.of->live->text();
    if (m.of->joined.data() != nullptr) m.method += " in '" + m.of->name + "' at " + std::to_string(m.offset);
    if (m.of->watch != nullptr && m.of->watch->sums()) m.method += " with the sum of its signals";
    if (m.of->choice != nullptr && options_.link)
      m.method += " over " + text_of(options_.link->sum) + " and " + text_of(options_.link->gather);
    if (m.of->choice != nullptr && m.of->dense_now) m.method += ", dense";
  }
  void tell_rate(unit& u, float rate) {
    if (u.live->learning_rate(rate))
      for (auto* m : u.members) label(*m);
  }
  float checked_rate(double rate) const {
    auto const as_stored = static_cast<float>(rate);
    if (!(as_stored > 0) || !std::isfinite(as_stored))
      throw configuration_error("gradpress: rank " + std::to_string(rank()) + ": the learning rate is " +
                                detail::knob_text(rate) +
                                "; memories in units of the model need a positive number: leave out steps without one");
    return as_stored;
  }
  static std::string text_of(link_cost const& c) {
    return detail::knob_text(c.alpha) + " s + " + detail::knob_text(c.beta) + " s/byte";
  }
  static buffer<Exec> part_of(buffer<Exec> const& b, member const& m) {
    return Kokkos::subview(b, std::pair{m.offset, m.offset + m.dims.size()});
  }

  void check_unique(std::vector<part_of_group> const& parts, std::size_t i, std::string const& where) const {
    for (std::size_t j = 0; j < i; ++j)
      if (parts[i].name == parts[j].name)
        throw configuration_error("gradpress: rank " + std::to_string(rank()) + ": " + where + " has the name '" +
                                  parts[i].name + "' twice; names key the state");
  }
  template <class Method>
  void check_new(std::string const& name, std::size_t rows, std::size_t cols, Method const& m) const {
    auto const here = "gradpress: rank " + std::to_string(comm_->rank()) + ": tensor '" + name + "' ";
    auto const same = [&](auto const& other) { return other->name == name; };
    if (std::any_of(tensors_.begin(), tensors_.end(), same) || std::any_of(units_.begin(), units_.end(), same))
      throw configuration_error(here + "was added before; names key the state and must be unique");
    if (cols != 0 && rows > 0xffffffffu / cols) throw configuration_error(here + "has 2^32 elements or more; split it");
    try {
      check_knobs(m);
      if constexpr (requires { m.exchange.check_world(1); }) m.exchange.check_world(comm_->size());
      if constexpr (requires { m.projector.check(shape{}); }) m.projector.check(shape{rows, cols});
    } catch (configuration_error const& e) {
      throw configuration_error(here + e.what());
    }
    if constexpr (requires { m.quantizer.largest_world(); })
      if (m.kind.combines == combination::sum && comm_->size() > m.quantizer.largest_world())
        throw configuration_error(here + "sums codes that wrap beyond " + std::to_string(m.quantizer.largest_world()) +
                                  " ranks; use a wider counter type");
  }

  // ---- knobs ---------------------------------------------------------------------------------------------------

  knob_change change(unit& u, std::string_view knob, std::string_view value) {
    auto const c = u.live->set(context(u, 0), knob, value);
    arena_->release();
    if (c.before == c.after) return c;
    u.as_added.try_emplace(c.name, c.before);
    u.changed[c.name] = c.after;
    if (u.as_added[c.name] == c.after) u.as_added.erase(c.name), u.changed.erase(c.name);
    if (u.choice != nullptr) {
      *u.choice = {};
      u.dense_now = false;
      u.live->travel_dense(false);
    }
    for (auto* m : u.members) label(*m);
    u.lanes.back() = u.find_payload(*this, u);
    std::erase_if(lanes_, [&](auto const& l) {
      return std::none_of(units_.begin(), units_.end(), [&](auto const& other) {
        return other->dense == l.second.get() ||
               std::find(other->lanes.begin(), other->lanes.end(), l.second.get()) != other->lanes.end();
      });
    });
    return c;
  }
  knob_change change_by_user(tensor t, std::string_view knob, std::string_view value) {
    auto const here = "gradpress: rank " + std::to_string(rank()) + ": ";
    if (t.index >= tensors_.size())
      throw configuration_error(here + "a knob was set of a tensor that this reducer does not know");
    auto const& m = *tensors_[t.index];
    try {
      auto c = change(*m.of, knob, value);
      std::erase_if(m.of->schedules, [&](auto const& f) { return f.knob == c.name; });
      return c;
    } catch (configuration_error const& e) {
      throw configuration_error(here + "tensor '" + m.name + "': " + e.what());
    }
  }
  void follow_schedules() {
    for (auto& u : units_)
      for (auto& f : u->schedules) {
        try {
          auto const value = f.value(number_);
          if (value == f.applied) continue;
          change(*u, f.knob, number_text(value));
          f.applied = value;
        } catch (std::exception const& e) {
          note(e, u->name);
        }
      }
  }

  void stage(tensor t, float* gradient, std::size_t n) {
    if (t.index >= tensors_.size())
      return note(configuration_error("a tensor was staged that this reducer does not know"), "");
    auto& e = *tensors_[t.index];
    if (e.staged) return fail_stage(t, "it was staged twice in one step");
    e.staged = true;
    e.gradient = gradient;
    if (n != e.dims.size())
      return fail_stage(t, "the gradient has " + std::to_string(n) + " elements where " +
                               std::to_string(e.dims.size()) + " were registered");
    if (gradient == nullptr && n > 0) fail_stage(t, "the gradient is a null pointer");
  }
  void fail_stage(tensor t, std::string const& why) {
    if (t.index < tensors_.size()) tensors_[t.index]->staged = true;
    note(configuration_error(why), t.index < tensors_.size() ? tensors_[t.index]->name : "");
  }

  // ---- the step ------------------------------------------------------------------------------------------------

  /// Before the first byte: same wire version, world, seed, step, tensors, shapes, methods, and the same staged set.
  void agree() {
    consensus_.clear();
    for (auto const* t : by_name_) consensus_.add(t->name, t->dims, t->method, t->staged);
    if (!declared_.empty()) consensus_.add("what uses this reducer", {}, declared_, true);
    for (auto& u : units_) collect(*u);
    guarded(0, "agreement", [&] { statistics_.control_bytes += consensus_.agree(*comm_, options_.seed, number_); });
  }

  void begin() {
    for (auto& u : units_)
      if (u->staged) u->dense_now = u->live->begin(context(*u, 0));
  }

  /// Where the gradient of a unit lies: its tensor's, or its tensors' if they lie end to end, or a copy of them.
  void collect(unit& u) {
    auto const staged = [](auto const* m) { return m->staged; };
    u.staged = std::any_of(u.members.begin(), u.members.end(), staged);
    if (!u.staged) return;
    auto const missing = std::find_if_not(u.members.begin(), u.members.end(), staged);
    if (missing != u.members.end())
      return note(
          configuration_error("was not staged, but others of its group '" + u.name + "' were; a group travels whole"),
          (*missing)->name);
    float* const first = u.members[0]->gradient;
    bool const end_to_end = std::all_of(u.members.begin(), u.members.end(),
                                        [first](auto const* m) { return m->gradient == first + m->offset; });
    u.gradient = u.joined.data() == nullptr || end_to_end ? first : u.joined.data();
  }
  void join(unit const& u) const {
    if (u.gradient != u.joined.data()) return;
    for (auto const* m : u.members) kernel::copy(exec_, m->gradient, m->dims.size(), u.gradient + m->offset);
  }
  void split(unit const& u) const {
    if (u.gradient != u.joined.data()) return;
    for (auto const* m : u.members) kernel::copy(exec_, u.gradient + m->offset, m->dims.size(), m->gradient);
  }

  int most_phases() const {
    int most = 0;
    for (auto const& u : units_)
      if (u->staged) most = std::max(most, u->live->phases());
    return most;
  }
  /// Somebody wants to know how long its codec takes.
  static bool timed(unit const& u) { return u.watch != nullptr || u.choice != nullptr; }
  static bool in_phase(unit const& u, int phase) { return u.staged && phase < u.live->phases(); }
  static lane& lane_in(unit const& u, int phase) {
    if (u.dense_now) return *u.dense;
    return *u.lanes[static_cast<std::size_t>(phase) % u.lanes.size()];
  }

  void run_phase(int phase) {
    auto const start = clock::now();
    open_letters(phase);
    for (auto& u : units_)
      if (in_phase(*u, phase)) encode(*u, phase);
    statistics_.encode_seconds += since(start);

    auto const middle = clock::now();
    for (auto& named : lanes_) {
      auto& l = *named.second;
      auto& letter = l.at(phase);
      if (letter.sections.empty()) continue;
      transport& by = counted_ != nullptr ? *counted_ : *comm_;
      auto const begun = counted_ != nullptr ? clock::now() : middle;
      guarded(phase, named.first.c_str(), [&] { l.run(context(phase), by, letter); });
      if (counted_ != nullptr) share(l, letter, phase, since(begun));
      arena_->release();
      statistics_.bytes_sent += letter.sent;
      statistics_.messages += letter.messages;
      if (letter.overflowed)
        note(non_finite_error(letter.complaint), "");
      else if (!letter.complaint.empty())
        note(payload_error(letter.complaint), "");
    }
    statistics_.exchange_seconds += since(middle);

    auto const end = clock::now();
    for (auto& u : units_)
      if (in_phase(*u, phase)) receive(*u, phase);
    statistics_.decode_seconds += since(end);
  }

  void open_letters(int phase) {
    for (auto& [text, l] : lanes_) {
      std::size_t capacity = 0, sections = 0;
      for (auto const& u : units_)
        if (in_phase(*u, phase) && &lane_in(*u, phase) == l.get())
          capacity += u->live->capacity(phase, comm_->size()), ++sections;
      l->at(phase).open(capacity, sections);
      l->at(phase).way = l->way;
    }
  }

  void encode(unit& u, int phase) {
    auto& letter = lane_in(u, phase).at(phase);
    auto const ctx = context(u, phase);
    auto const room = letter.room(u.live->capacity(phase, comm_->size()));
    auto const start = timed(u) ? clock::now() : clock::time_point{};
    if (u.choice != nullptr && phase == 0) u.choice->seconds = 0;
    std::size_t size = 0;
    if (!failure_ && phase == 0) join(u);
    if (!failure_) attempt(u, [&] { size = u.live->encode(ctx, in<Exec>(u.gradient, u.dims.size()), room); });
    if (u.choice != nullptr) u.choice->seconds += since(start);
    if (u.watch != nullptr && !failure_) measure_signal(u, ctx, part(room, 0, size), since(start));
    if (failure_) size = u.live->silence(ctx, room);
    arena_->release();
    u.section = letter.sections.size();
    if (u.choice != nullptr) u.choice->bytes = size;
    letter.add(u.live.get(), u.key, size);
  }

  void receive(unit& u, int phase) {
    if (failure_) return;
    auto const ctx = context(u, phase);
    auto const arrived = arrival_of(u, phase);
    auto const start = timed(u) ? clock::now() : clock::time_point{};
    attempt(u, [&] {
      u.live->check(ctx, arrived);
      arena_->release();
      if (phase + 1 < u.live->phases()) u.live->accept(ctx, arrived);
    });
    if (u.watch != nullptr) u.watch->now.decode_seconds += since(start);
    if (u.choice != nullptr) u.choice->seconds += since(start);
    arena_->release();
  }
  arrival<Exec> arrival_of(unit const& u, int phase) const {
    auto const& letter = lane_in(u, phase).at(phase);
    return letter.arrival_of(letter.sections[u.section]);
  }

  /// After the last message: either every rank commits or none does.
  void vote() {
    guarded(most_phases(), "vote", [&] { statistics_.control_bytes += consensus_.vote(*comm_, failure_, number_); });
  }

  void commit() {
    auto const start = clock::now();
    for (auto& u : units_) {
      u->committed = u->staged;
      if (!u->staged) continue;
      auto const last = u->live->phases() - 1;
      auto const begun = timed(*u) ? clock::now() : start;
      u->live->commit(context(*u, last), view<Exec>(u->gradient, u->dims.size()), arrival_of(*u, last));
      split(*u);
      arena_->release();
      if (u->choice != nullptr) count_codec(*u->choice, since(begun));
      if (u->dense_now) ++statistics_.sent_dense;
      statistics_.redrawn += u->live->redrawn();
      if (u->watch != nullptr) measure_update(*u, since(begun));
      statistics_.dense_bytes += 4 * u->dims.size();
    }
    unstage_all();
    fence(exec_);
    ++number_;
    ++statistics_.steps;
    can_roll_back_ = true;
    statistics_.decode_seconds += since(start);
    if (counted_ != nullptr) tell();
  }

  // ---- automatic: which way, and whether at all -------------------------------------------------------------------

  /// The transport with the calls of a communicator, for what is written against those.
  struct as_communicator {
    transport& to;
    [[nodiscard]] int rank() const { return to.rank(); }
    [[nodiscard]] int size() const { return to.size(); }
    void all_gather(std::span<std::byte const> mine, std::span<std::byte> all) { to.all_gather(mine, all); }
    void all_reduce_sum(std::span<float> x) { to.all_reduce_sum(scalar::f32, x.data(), x.size()); }
  };
  /// What ranks share of a tensor that is weighed; of each number the largest counts.
  struct measured_weight {
    double codec, copy, bytes;
  };

  /// Weighs the tensors that have taken three compressed steps. After the agreement,
  /// so that all ranks do so in the same step, with the same numbers and the same result.
  void weigh() {
    std::size_t elements = 0;
    std::vector<unit*> due;
    for (auto& u : units_)
      if (u->staged && u->choice != nullptr && !u->choice->done && u->choice->steps > 2) {
        due.push_back(u.get());
        elements += u->dims.size();
      }
    if (due.empty()) return;
    constexpr std::size_t worth_it = std::size_t{1} << 16;
    if (comm_->size() == 1 || elements < worth_it) {
      for (auto* u : due) u->choice->done = true, u->choice->why = "all_gather: too little to weigh";
      return;
    }
    guarded(0, "measurement of the link", [&] {
      if (!options_.link) measure_costs();
      choose(due, share_weights(due));
    });
    for (auto* u : due) u->choice->done = true;
  }
  static void count_codec(weighed& c, double last) {
    c.seconds += last;
    c.codec = c.steps <= 1 ? c.seconds : std::min(c.codec, c.seconds);
    ++c.steps;
  }
  /// From a small and a large message: links that are shaped, and transports that change their protocol, lie on no line,
  /// and the large one is what tensors are like.
  void measure_costs() {
    as_communicator comm{*comm_};
    link_options how{.with = gradpress::timed::all_reduce, .sizes = {1 << 10, 1 << 22}, .repetitions = 3};
    link_costs costs;
    costs.sum = measure_link(comm, how);
    how = {.with = gradpress::timed::all_gather, .sizes = {1 << 10, 1 << 20}, .repetitions = 3};
    costs.gather = measure_link(comm, how);
    options_.link = costs;
  }
  std::vector<measured_weight> share_weights(std::vector<unit*> const& due) {
    std::vector<measured_weight> mine;
    for (auto const* u : due) {
      auto const n = u->dims.size();
      // Not the gradient: what was staged may be the mistake that this step is about to report.
      auto const from = arena_->template take<float>(n), room = arena_->template take<float>(n);
      kernel::fill_zero(exec_, from.data(), n);
      double fastest = 0;
      for (int i = 0; i < 3; ++i) {
        auto const start = clock::now();
        kernel::copy(exec_, from.data(), n, room.data());
        fence(exec_);
        fastest = i == 0 ? since(start) : std::min(fastest, since(start));
      }
      arena_->release();
      mine.push_back({u->choice->codec, fastest, static_cast<double>(u->choice->bytes)});
    }
    auto const ranks = static_cast<std::size_t>(comm_->size());
    std::vector<measured_weight> all(ranks * mine.size());
    comm_->all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
    for (std::size_t i = 0; i < all.size(); ++i) {
      auto& w = mine[i % mine.size()];
      if (i < mine.size()) w = all[i];
      w = {std::max(w.codec, all[i].codec), std::max(w.copy, all[i].copy), std::max(w.bytes, all[i].bytes)};
    }
    return mine;
  }
  void choose(std::vector<unit*> const& due, std::vector<measured_weight> const& weights) {
    auto const& link = *options_.link;
    auto const load_of = [&](unit const& u, double bytes) {
      auto const n = static_cast<double>(u.dims.size());
      return message_load{static_cast<double>(comm_->size()), n, std::min(n, bytes / 8), bytes};
    };
    std::map<lane*, message_load> loads;
    std::vector<double> compressed(due.size()), dense(due.size());
    auto const share = 1.0 / static_cast<double>(due.size());
    for (std::size_t i = 0; i < due.size(); ++i) {
      auto& u = *due[i];
      auto const load = load_of(u, weights[i].bytes);
      auto cost = link;
      cost.gather.alpha *= share;  // messages of a lane travel together
      auto& l = *u.lanes.back();
      compressed[i] = weights[i].codec + l.forecast(best_way(l, cost, load), cost, load);
      // Copied into the message, checked twice, and divided out of it.
      dense[i] = 3 * weights[i].copy + share * link.sum.alpha + link.sum.beta * 4 * load.coefficients;
      u.dense_now = dense[i] <= compressed[i];
      u.live->travel_dense(u.dense_now);
      for (auto* m : u.members) label(*m);
      if (u.dense_now) continue;
      auto& whole = loads[&l];
      whole.ranks = load.ranks;
      whole.coefficients += load.coefficients, whole.entries += load.entries, whole.bytes += load.bytes;
    }
    for (auto& [l, load] : loads) l->way = best_way(*l, link, load);
    for (std::size_t i = 0; i < due.size(); ++i)
      due[i]->choice->why =
          explain_choice(*due[i], weights[i], load_of(*due[i], weights[i].bytes), compressed[i], dense[i]);
  }
  static int best_way(lane const& l, link_costs const& link, message_load const& load) {
    int best = 0;
    for (int w = 1; w < static_cast<int>(l.ways().size()); ++w)
      if (l.forecast(w, link, load) < l.forecast(best, link, load)) best = w;
    return best;
  }
  std::string explain_choice(unit const& u, measured_weight const& w, message_load const& load, double compressed,
                             double dense) const {
    auto const ms = [](double seconds) { return detail::knob_text(std::round(seconds * 1e5) / 100) + " ms"; };
    auto const cost = [](link_cost const& c) {
      return detail::knob_text(std::round(c.alpha * 1e7) / 10) + " us + " +
             detail::knob_text(std::round(c.beta * 1e11) / 100) + " ns/byte";
    };
    auto const& l = *u.lanes.back();
    auto text = (u.dense_now ? "dense" : std::string(l.ways()[static_cast<std::size_t>(l.way)])) + ": compressed " +
                ms(compressed) + " (codec " + ms(w.codec) + "), dense " + ms(dense) +
                "; P = " + std::to_string(comm_->size()) + ", all-reduce " + cost(options_.link->sum) +
                ", all-gather " + cost(options_.link->gather);
    if (l.ways().size() > 1)
      text += "; " + std::to_string(static_cast<std::uint64_t>(load.entries)) + " entries a rank, " +
              std::to_string(static_cast<std::uint64_t>(expected_union(load.coefficients, load.entries, load.ranks))) +
              " of " + std::to_string(u.dims.size()) + " expected in the sum";
    return text;
  }

  // ---- metrics: only where somebody watches --------------------------------------------------------------------

  void begin_measuring() {
    static_cast<void>(counted_->take());
    for (auto& u : units_)
      if (u->watch != nullptr)
        u->watch->now = {
            .tensor = u->name, .step = number_, .elements = u->dims.size(), .rows = u->dims.rows, .cols = u->dims.cols};
  }
  double* partial(unit const& u) const {
    return arena_->template take<double>(kernel::dense_chunks(u.dims.size())).data();
  }
  void measure_signal(unit& u, step<Exec> const& ctx, bytes<Exec> message, double seconds) {
    auto& now = u.watch->now;
    now.encode_seconds += seconds;
    if (ctx.phase + 1 < u.live->phases()) return;
    attempt(u, [&] {
      auto const n = u.dims.size();
      auto const signal = arena_->template take<float>(n);
      u.live->signal(ctx, in<Exec>(u.gradient, n), signal);
      now.signal = kernel::norm(exec_, signal.data(), n, partial(u));
      now.left_behind = u.live->left_behind(ctx, message);
    });
  }
  /// Bytes and seconds of a letter, by the size of its sections.
  void share(lane const& l, letter<Exec> const& of, int phase, double seconds) {
    auto const received = counted_->take();
    std::size_t all = 0;
    for (auto const& s : of.sections) all += s.size;
    auto const weight = [&](auto const& s) { return static_cast<double>(all == 0 ? 1 : s.size); };
    double const whole = all == 0 ? static_cast<double>(of.sections.size()) : static_cast<double>(all);
    for (auto& u : units_) {
      if (u->watch == nullptr || !in_phase(*u, phase) || &lane_in(*u, phase) != &l) continue;
      double before = 0;
      for (std::size_t i = 0; i < u->section; ++i) before += weight(of.sections[i]);
      auto const its = weight(of.sections[u->section]);
      auto const until = [&](std::uint64_t bytes, double end) {
        return static_cast<std::uint64_t>(static_cast<double>(bytes) * (end / whole));
      };
      auto& now = u->watch->now;
      now.bytes_sent += until(of.sent, before + its) - until(of.sent, before);
      now.bytes_received += until(received, before + its) - until(received, before);
      now.exchange_seconds += seconds * its / whole;
    }
  }
  /// The sum of all ranks' signals, where it is asked for; while a step may still fail, since memories go with it.
  void add_signals() {
    for (auto& u : units_) {
      if (!u->staged || u->watch == nullptr || !u->watch->sums()) continue;
      auto const& sum = u->watch->sum;
      kernel::fill_zero(exec_, sum.data(), sum.extent(0));
      if (!failure_)
        attempt(*u, [&] {
          u->live->signal(context(*u, u->live->phases() - 1), in<Exec>(u->gradient, u->dims.size()), view<Exec>(sum));
        });
      guarded(most_phases(), "sum of signals", [&] { comm_->all_reduce_sum(scalar::f32, sum.data(), sum.extent(0)); });
      statistics_.control_bytes += 4 * sum.extent(0);
    }
  }
  void measure_update(unit& u, double seconds) {
    auto& now = u.watch->now;
    now.decode_seconds += seconds;
    auto const n = u.dims.size();
    auto const kept = kernel::count_nonzero(exec_, u.gradient, n, partial(u));
    auto const density = n == 0 ? 0 : static_cast<double>(kept) / static_cast<double>(n);
    now.update_density = density;
    if (u.watch->what.signals) now.sum = {u.watch->sum.data(), n};
    if (u.watch->what.assumption) {
      auto const* sum = u.watch->sum.data();
      auto const at_random = std::sqrt(1 - density) * kernel::norm(exec_, sum, n, partial(u));
      auto const lost = kernel::distance(exec_, sum, static_cast<double>(size()), u.gradient, n, partial(u));
      now.assumption = at_random > 0 ? lost / at_random : 0;
    }
    arena_->release();
  }
  void tell() {
    for (auto& u : units_)
      if (u->committed && u->watch != nullptr) u->watch->tell(u->watch->now);
  }

  // ---- errors --------------------------------------------------------------------------------------------------

  /// What a policy throws becomes this rank's vote; it must not leave before the other ranks know.
  template <class F>
  void attempt(unit const& u, F const& f) {
    try {
      f();
    } catch (std::exception const& e) {
      note(e, culprit(u));
    }
    arena_->release();
  }
  /// Of a group, the tensor that is to blame, where one can be told.
  static std::string const& culprit(unit const& u) {
    for (auto const* m : u.members)
      for (std::size_t i = 0; u.members.size() > 1 && i < m->dims.size(); ++i)
        if (!std::isfinite(m->gradient[i])) return m->name;
    return u.name;
  }
  void note(std::exception const& e, std::string const& who) { failure_.note(e, who); }

  template <class F>
  void guarded(int phase, char const* what, F const& f) {
    try {
      f();
    } catch (error const& e) {
      if (dynamic_cast<communicator_error const*>(&e) == nullptr) throw;
      throw communicator_error(where(phase, what) + e.what() + remedy);
    } catch (std::exception const& e) {
      throw communicator_error(where(phase, what) + e.what() + remedy);
    }
  }
  static constexpr char const* remedy =
      "; nothing was changed: mend the transport and repeat the step, or restart from a checkpoint";
  std::string where(int phase, char const* what) const {
    return "gradpress: rank " + std::to_string(comm_->rank()) + ": the communicator failed in step " +
           std::to_string(number_) + ", phase " + std::to_string(phase) + " (" + what + "): ";
  }

  void unstage_all() noexcept {
    for (auto* t : by_name_) t->staged = false;
    for (auto& u : units_) u->staged = false;
  }
  void unstage() noexcept {
    unstage_all();
    failure_ = {};
    can_roll_back_ = false;
  }

  // ---- state ---------------------------------------------------------------------------------------------------

  checkpoint::header header() const {
    return {static_cast<std::uint32_t>(comm_->rank()), static_cast<std::uint32_t>(comm_->size()), number_,
            options_.seed};
  }
  std::vector<checkpoint::knobs> changed_knobs() const {
    std::vector<checkpoint::knobs> all;
    for (auto const& u : units_) {
      std::string text;
      for (auto const& [knob, value] : u->changed) text += (text.empty() ? "" : ",") + knob + '=' + value;
      if (text.empty()) continue;
      for (auto const* m : u->members) all.push_back({m->name, u->method, text});
    }
    return all;
  }
  /// Every unit's knobs as the checkpoint has them, or as they were.
  void take_knobs(std::vector<checkpoint::knobs> const& saved) {
    std::vector<texts> before, wanted;
    for (auto const& u : units_) {
      before.push_back(u->changed);
      wanted.push_back(knobs_for(*u, saved));
    }
    for (auto const& s : saved)
      if (std::none_of(by_name_.begin(), by_name_.end(), [&](auto const* m) { return m->name == s.tensor; }))
        throw state_error(at_tensor(s.tensor) + "is in the checkpoint and not in this reducer; add it before loading");
    for (std::size_t i = 0; i < units_.size(); ++i) {
      try {
        move_knobs(*units_[i], wanted[i]);
      } catch (configuration_error const& e) {
        for (std::size_t j = 0; j <= i; ++j) move_knobs(*units_[j], before[j]);
        throw state_error(at_tensor(units_[i]->name) + "the checkpoint has a knob that does not fit: " + e.what());
      }
    }
  }
  texts knobs_for(unit const& u, std::vector<checkpoint::knobs> const& saved) const {
    std::string text;
    for (auto const* m : u.members) {
      auto const s = std::find_if(saved.begin(), saved.end(), [&](auto const& k) { return k.tensor == m->name; });
      if (s != saved.end() && s->method != u.method)
        throw state_error(at_tensor(m->name) + "was saved by " + s->method + " and is now " + u.method +
                          "; use the same method");
      auto const its = s == saved.end() ? std::string() : s->text;
      if (m != u.members[0] && its != text)
        throw state_error(at_tensor(m->name) + "was saved with other knobs than '" + u.members[0]->name +
                          "', with which it shares the group '" + u.name + "'; group it as it was");
      text = its;
    }
    texts all;
    for (std::string_view rest = text; !rest.empty();) {
      auto const item = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), item.size() + 1));
      auto const equals = std::min(item.find('='), item.size() - 1);
      all[std::string(item.substr(0, equals))] = item.substr(equals + 1);
    }
    return all;
  }
  void move_knobs(unit& u, texts const& wanted) {
    for (auto const& [knob, value] : texts(u.as_added))
      if (!wanted.contains(knob)) change(u, knob, value);
    for (auto const& [knob, value] : wanted) change(u, knob, value);
  }
  std::string at_tensor(std::string const& name) const {
    return "gradpress: rank " + std::to_string(rank()) + ": tensor '" + name + "': ";
  }
  std::vector<checkpoint::field> fields() const {
    std::vector<checkpoint::field> all;
    for (auto const& u : units_)
      u->live->visit(context(*u, 0), [&](char const* name, buffer<Exec> b) {
        bool const whole = u->joined.data() == nullptr || b.extent(0) != u->dims.size();
        if (whole) return all.push_back({u->name, u->method, name, {b.data(), b.extent(0)}});
        for (auto const* m : u->members)
          all.push_back({m->name, u->method, name, {b.data() + m->offset, m->dims.size()}});
      });
    arena_->release();
    return all;
  }
};

template <class Exec, class C>
reducer(Exec, C&&) -> reducer<Exec>;
template <class Exec, class C>
reducer(Exec, C&&, reducer_options) -> reducer<Exec>;

}  // namespace gradpress
