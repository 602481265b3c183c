// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// What a program sees of the library: tensors and their methods, the step, state. What the functions do is in reducer/:
/// the step itself in step.hpp.

#include <gradpress/communicate/adapt.hpp>
#include <gradpress/concepts/schedule.hpp>
#include <gradpress/concepts/scope.hpp>
#include <gradpress/core/checkpoint.hpp>
#include <gradpress/core/compile_once.hpp>
#include <gradpress/core/consensus.hpp>
#include <gradpress/core/link.hpp>
#include <gradpress/reducer/unit.hpp>

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <optional>
#include <span>

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

  using lane = detail::lane<Exec>;
  using member = detail::member<Exec>;
  using unit = detail::unit<Exec>;
  using watched = detail::watched<Exec>;
  using weighed = detail::weighed;
  using texts = detail::texts;
  struct adapted {};  // a communicator that is a transport already

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
  std::uint32_t id_ = detail::next_reducer_id();

 public:
  /// Names a tensor of one reducer.
  struct tensor {
    std::size_t index = 0;    ///< counts from 0 in the order of `add`
    std::uint32_t owner = 0;  ///< which reducer it is of
  };

  /// An lvalue communicator is referred to and must outlive the reducer; an rvalue is moved in.
  template <class C>
  requires(explain_communicator<std::remove_cvref_t<C>>()) reducer(Exec exec, C&& comm, reducer_options options = {})
      : reducer(adapted{}, adapt(std::forward<C>(comm)), exec, options) {}

  reducer(reducer&&) noexcept;
  reducer& operator=(reducer&&) noexcept;
  ~reducer();

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
    for (auto const& p : parts) check_new(p.name, p.rows, p.cols, method);
    auto const n = check_group(group, parts);
    check_new(group, n, 1, method);
    return new_group(new_unit(group, {n, 1}, method), parts);
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
    for (auto const& p : parts) {
      check_new(p.name, p.rows, p.cols, method);
      sizes.push_back(p.rows * p.cols);
    }
    check_unique(parts, "the list");
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
    known(t).of->schedules.push_back({std::move(name), std::move(schedule), value});
  }

  /// The learning rate of the next steps, for memories in units of the model: what they keep is worth the same step of
  /// the model after a change. Others do not ask. All ranks must say the same before the same step; the next `average`
  /// compares. Throws `configuration_error` unless it is a positive number, and has then changed nothing.
  void learning_rate(double rate);
  /// The same for one tensor, or the group that it belongs to, where parameters have rates of their own.
  void learning_rate(tensor t, double rate);

  /// Calls observer(measurement) at the end of every step of this tensor, or of the group that it belongs to; after the
  /// step stands, so what the observer throws leaves `average` and undoes nothing. A null observer ends it. One
  /// observer a tensor. Costs a few passes over the tensor and the clock; nothing where nobody watches.
  void watch(tensor t, std::function<void(measurement const&)> observer, watch_options options = {});

  /// Hands in a gradient of rows x cols floats, row-major; it must stay valid until `average` returns.
  void stage(tensor t, float* gradient) { stage(t, gradient, is_mine(t) ? dims(t).size() : 0); }
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
  void average();
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
  void rollback();

  /// Text that must be equal on all ranks, compared before every step as methods are: what uses this reducer, and how.
  void declare(std::string text) { declared_ = std::move(text); }

  /// What of a tensor's gradients was not delivered yet, one float an element: what is added to the next gradient. Empty
  /// where its method has no such memory. It may be written between steps, and a rollback then takes back the last
  /// step and what was written. Valid until the next `average` or `rollback`.
  [[nodiscard]] buffer<Exec> residual(tensor t);

  /// Writes this rank's memories and factors, keyed by tensor name. A file a rank.
  void save(std::ostream& to) { checkpoint::write(to, header(), fields(), changed_knobs()); }
  /// Reads what `save` wrote on this rank number of a world of this size, knobs as they were set then included. All or
  /// nothing; throws `state_error`.
  void load(std::istream& from);

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
    auto const& c = known(t).of->choice;
    return c == nullptr ? std::string() : c->why;
  }
  /// Its policies and their knobs as they are now.
  [[nodiscard]] std::string method(tensor t) const { return known(t).of->live->text(); }
  /// One of them, as text that `set` takes; `configuration_error` as there.
  [[nodiscard]] std::string knob(tensor t, std::string_view knob) const;
  /// The tensor of that name; throws `configuration_error` if there is none.
  [[nodiscard]] tensor find(std::string_view name) const;
  [[nodiscard]] std::string const& name(tensor t) const { return known(t).name; }
  [[nodiscard]] shape dims(tensor t) const { return known(t).dims; }
  /// Calls v(name, buffer) for each piece of a tensor's state that has one number an element: its memories. A checkpoint
  /// holds factors and thresholds, too.
  void visit(tensor t, typename coder<Exec>::visitor const& v);

 private:
  using clock = std::chrono::steady_clock;
  static double since(clock::time_point start) { return std::chrono::duration<double>(clock::now() - start).count(); }

  step<Exec> context(std::uint64_t key, int phase) const {
    return {exec_, options_.seed, number_, key, comm_->rank(), comm_->size(), phase, 0, arena_.get()};
  }
  step<Exec> context(unit const& u, int phase) const { return context(u.key, phase); }

  // ---- tensors ---------------------------------------------------------------------------------------------------

  template <class Method>
  void check_new(std::string const& name, std::size_t rows, std::size_t cols, Method const& m) const {
    check_name(name, rows, cols);
    try {
      check_knobs(m);
      if constexpr (requires { m.exchange.check_world(1); }) m.exchange.check_world(comm_->size());
      if constexpr (requires { m.projector.check(shape{}); }) m.projector.check(shape{rows, cols});
      if constexpr (requires { m.quantizer.largest_world(); })
        if (m.kind.combines == combination::sum) check_world(m.quantizer.largest_world());
    } catch (configuration_error const& e) {
      throw configuration_error(named(name) + ' ' + e.what());
    }
  }
  template <concepts::method Method>
  unit* new_unit(std::string const& name, shape dims, Method const& method) {
    using worker = tensor_coder<Exec, Method>;
    auto live = std::make_unique<worker>(method, context(key_of(name), 0), dims);
    return keep_unit(name, dims, std::move(live), Method::facts, [](reducer& r, coder<Exec> const& of) {
      auto const& now = static_cast<worker const&>(of).current();
      return r.lane_for(now.exchange, now.kind);
    });
  }
  template <class X>
  lane* lane_for(X const& x, message_kind kind) {
    auto& slot = lane_slot(describe(x), kind);
    if (!slot) slot = std::make_unique<detail::lane_of<Exec, X>>(x, kind);
    return slot.get();
  }
  reducer(adapted, std::unique_ptr<transport> comm, Exec exec, reducer_options options);
  void check_name(std::string const& name, std::size_t rows, std::size_t cols) const;
  void check_world(int largest) const;
  void check_unique(std::vector<part_of_group> const& parts, std::string const& where) const;
  std::size_t check_group(std::string const& group, std::vector<part_of_group> const& parts) const;
  static std::uint64_t key_of(std::string const& name);
  using payload_lane = lane* (*)(reducer&, coder<Exec> const&);
  unit* keep_unit(std::string const& name, shape dims, std::unique_ptr<coder<Exec>> live, method_facts const& facts,
                  payload_lane payload);
  std::unique_ptr<lane>& lane_slot(std::string const& exchange, message_kind kind);
  tensor new_member(std::string name, unit* of, shape dims, std::size_t offset);
  std::vector<tensor> new_group(unit* of, std::vector<part_of_group> const& parts);
  void label(member& m) const;
  static buffer<Exec> part_of(buffer<Exec> const& b, member const& m);
  bool is_mine(tensor t) const noexcept { return t.owner == id_ && t.index < tensors_.size(); }
  member& known(tensor t) const;
  void stage(tensor t, float* gradient, std::size_t n);
  void fail_stage(tensor t, std::string const& why);
  std::string here() const;
  std::string named(std::string const& name) const;
  std::string at_tensor(std::string const& name) const;

  // ---- knobs ---------------------------------------------------------------------------------------------------

  knob_change change(unit& u, std::string_view knob, std::string_view value);
  knob_change change_by_user(tensor t, std::string_view knob, std::string_view value);
  void follow_schedules();
  void tell_rate(unit& u, float rate);
  float checked_rate(double rate) const;

  // ---- the step ------------------------------------------------------------------------------------------------

  void agree();
  void begin();
  void collect(unit& u);
  void join(unit const& u) const;
  void split(unit const& u) const;
  int most_phases() const;
  static bool timed(unit const& u);
  static bool in_phase(unit const& u, int phase);
  static lane& lane_in(unit const& u, int phase);
  void run_phase(int phase);
  void open_letters(int phase);
  void encode(unit& u, int phase);
  void receive(unit& u, int phase);
  arrival<Exec> arrival_of(unit const& u, int phase) const;
  void vote();
  void commit();

  // ---- automatic: which way, and whether at all -------------------------------------------------------------------

  void weigh();
  static void count_codec(weighed& c, double last);
  void measure_costs();
  std::vector<detail::measured_weight> share_weights(std::vector<unit*> const& due);
  void choose(std::vector<unit*> const& due, std::vector<detail::measured_weight> const& weights);
  static int best_way(lane const& l, link_costs const& link, message_load const& load);
  std::string explain_choice(unit const& u, detail::measured_weight const& w, message_load const& load,
                             double compressed, double dense) const;

  // ---- metrics: only where somebody watches --------------------------------------------------------------------

  void begin_measuring();
  double* partial(unit const& u) const;
  void measure_signal(unit& u, step<Exec> const& ctx, bytes<Exec> message, double seconds);
  void share(lane const& l, letter<Exec> const& of, int phase, double seconds);
  void add_signals();
  void measure_update(unit& u, double seconds);
  void tell();

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
  static std::string const& culprit(unit const& u);
  void note(std::exception const& e, std::string const& who);

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
  std::string where(int phase, char const* what) const;

  void unstage_all() noexcept;
  void unstage() noexcept;

  // ---- state ---------------------------------------------------------------------------------------------------

  checkpoint::header header() const;
  std::vector<checkpoint::knobs> changed_knobs() const;
  void take_knobs(std::vector<checkpoint::knobs> const& saved);
  texts knobs_for(unit const& u, std::vector<checkpoint::knobs> const& saved) const;
  void move_knobs(unit& u, texts const& wanted);
  std::vector<checkpoint::field> fields() const;
};

template <class Exec, class C>
reducer(Exec, C&&) -> reducer<Exec>;
template <class Exec, class C>
reducer(Exec, C&&, reducer_options) -> reducer<Exec>;

}  // namespace gradpress

#if GRADPRESS_BODIES
#include <gradpress/reducer/automatic.hpp>
#include <gradpress/reducer/knobs.hpp>
#include <gradpress/reducer/measuring.hpp>
#include <gradpress/reducer/state.hpp>
#include <gradpress/reducer/step.hpp>
#include <gradpress/reducer/tensors.hpp>
#endif

namespace gradpress {
GRADPRESS_CLASS_ONCE(reducer);
}  // namespace gradpress
