// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The step: four families and an exchange, composed at compile time.
///
///     g --compensate--> a --project--> coefficients --select--> kept --quantize--> codes --encode--> message
///       --exchange--> arrived --decode--> mean coefficients --lift--> g          what of mine was lost --keep--> memory
///
/// phase = round * steps + step: rounds come from the projector; a step more where one rank leads the selection, and one
/// more where the quantizer must agree on something first.

#include <gradpress/compressor/compose.hpp>
#include <gradpress/core/coder.hpp>
#include <gradpress/core/memory.hpp>
#include <gradpress/encode/message.hpp>
#include <gradpress/encode/sum_stream.hpp>
#include <gradpress/kernel/dense.hpp>
#include <gradpress/kernel/entries.hpp>
#include <gradpress/kernel/forming.hpp>
#include <gradpress/kernel/norm.hpp>

#include <cmath>
#include <utility>

namespace gradpress {

/// A compressor at work on one tensor.
template <class Exec, class Compressor>
class tensor_coder;

template <class Exec, class Pr, class S, class Q, class F, class X, class I>
class tensor_coder<Exec, compressor<Pr, S, Q, F, X, I>> final : public coder<Exec> {
  using method = compressor<Pr, S, Q, F, X, I>;
  using layout = message_layout<Exec, S, Q, I>;
  using visitor = typename coder<Exec>::visitor;
  using context = step<Exec>;

  static constexpr int steps = steps_of<S, Q>;
  static constexpr bool direct = keeps_coordinates<Pr>;
  static constexpr bool dense = S::where == support::all;
  static constexpr bool has_memory = remembers<F>;
  static constexpr bool chunked = chunks_tensors<X>;
  static constexpr bool sums = method::kind.combines == combination::merge;
  static constexpr bool recalls = keeps_state<S>;
  static constexpr bool has_addend = requires(F const& f, state_of<F, Exec>& s) { f.addend(s); };
  /// What the memory has not been relieved of yet: the product of two factors.
  struct product {
    buffer<Exec> basis, factor;
    bool owed = false;
  };
  static constexpr bool can_go_dense = (direct && weighs_dense<X>) || takes_courses<Pr>;

  method use;
  shape dims;
  state_of<Pr, Exec> basis;
  state_of<F, Exec> memory;
  state_of<X, Exec> meeting;
  state_of<S, Exec> choice;    // of the last round's coefficients
  state_of<S, Exec> unguided;  // of rounds before it: never stands, so they start from nothing
  selection<Exec> kept;
  buffer<Exec> rest;          // the signal, then what of it was not delivered; swapped with the memory at the commit
  buffer<Exec> coefficients;  // projected, where they are not the signal itself
  buffer<Exec> own;           // my decoded contribution, in coefficients; only behind a projector
  buffer<Exec> values, agreed;
  product debt, old_debt;   // of the memory, and of `rest` for a rollback
  buffer<Exec> rate;        // the learning rate that a memory in units of the model is for; 0 before the first
  float old_rate = 0;       // the same of what a rollback brings back
  float wanted_rate = 0;    // as the program has it now
  in<Exec> a, c, x;         // signal, its coefficients, the values to send; alive inside one step
  int rounds = Pr::rounds;  // of the step that began
  bool dense_now = false;   // the whole signal travels, as floats that add up
  bool empty = false;       // the memory holds zeros, and need be neither read nor written
  bool unkept = false;      // nor was it at the last commit
  bool renewed = false;     // what the projector keeps is of after the last commit
  bool was_whole = false;   // at the last commit the whole signal travelled
  bool chose = false;       // in this step something was selected by `choice`
  bool chosen = false;      // and in the last one that stands
  bool only_sent = false;   // `rest` is the signal but where something of mine was sent

 public:
  tensor_coder(method const& m, context const& ctx, shape d)
      : use(m),
        dims(d),
        basis(m.projector, ctx, d),
        memory(m.feedback, ctx, d),
        meeting(m.exchange, ctx, keeps_coefficients<X> ? shape{reduced_by(m, ctx.rank, ctx.world).second, 1} : d),
        choice(choice_for(m.selector, ctx, m.projector.coefficients(d, Pr::rounds - 1))),
        unguided(choice_for(m.selector, ctx, Pr::rounds > 1 ? m.projector.coefficients(d, 0) : 0)) {
    if constexpr (has_memory) rest = room(d.size());
    if constexpr (can_follow_rate<F>) rate = kernel::zeros(ctx.exec, "gradpress::rate", 1);
    make_debts(use.projector);
    make_room();
  }

  bool begin(context const& ctx) override {
    chose = false;
    if constexpr (takes_courses<Pr>) {
      auto const now = use.projector.begin(ctx, dims, basis);
      rounds = now.rounds;
      dense_now = now.whole;
    }
    return dense_now;
  }
  int phases() const override { return dense_now ? 1 : rounds * steps; }

  std::size_t capacity(int phase, int world) const override {
    if (dense_now) return 4 * dims.size();
    auto const m = use.selector.max_kept(count_of(phase));
    if (leads(phase)) return use.indices.index_bytes(count_of(phase), m);
    if (proposes(phase)) return agreement_bytes(m);
    if constexpr (chunked) {
      std::size_t all = 0;
      for (int p = 0; p < world; ++p) all += padded(use.quantizer.code_bytes(chunk(m, p, world).second));
      return all;
    }
    return layout::size(use.quantizer, use.indices, count_of(phase), m);
  }

  // ---- one phase, sending side ---------------------------------------------------------------------------------

  std::size_t encode(context const& ctx, in<Exec> g, bytes<Exec> out) override {
    if (ctx.phase == 0) follow_rate(ctx);
    only_sent = direct && !dense && !dense_now;
    if (dense_now) return write_signal(ctx, g, out);
    if (ctx.phase % steps == 0) prepare(ctx, g);
    if (leads(ctx.phase)) return write_support(ctx, out);
    if constexpr (agreeing<Q>)
      if (proposes(ctx.phase)) return propose(ctx, g, out);
    auto const size = write(ctx, g, out);
    if (last_phase(ctx)) contribute(ctx, part(out, 0, size));
    return size;
  }

  std::size_t silence(context const& ctx, bytes<Exec> out) override {
    kept.count = 0;  // of another phase, whose indices need not fit this one
    if (dense_now) {
      clear(out.data(), 4 * dims.size());
      return 4 * dims.size();
    }
    if (leads(ctx.phase)) {
      first_entries(use.selector.max_kept(count_of(ctx.phase)));
      return write_support(ctx, out);
    }
    if constexpr (layout::counted) {
      if (!proposes(ctx.phase)) {
        auto const nothing = layout::size(use.quantizer, use.indices, count_of(ctx.phase), 0);
        clear(out.data(), nothing);
        return nothing;
      }
    }
    auto const size = capacity(ctx.phase, ctx.world);
    clear(out.data(), size);
    // A rank that failed may have to add what the others send.
    if constexpr (!dense && !layout::indexed)
      first_entries(proposes(ctx.phase) ? 0 : use.selector.max_kept(count_of(ctx.phase)));
    if constexpr (layout::indexed) {
      auto const n = count_of(ctx.phase), k = proposes(ctx.phase) ? 0 : use.selector.max_kept(n);
      first_entries(k);
      if (k > 0) use.indices.write(kept.indices.data(), k, n, out.data());
    }
    return size;
  }

  // ---- one phase, receiving side -------------------------------------------------------------------------------

  void check(context const& ctx, arrival<Exec> arrived) override {
    auto const n = count_of(ctx.phase);
    if (dense_now) {
      auto const sum = as<float const>(arrived.messages[0]);
      return require(kernel::all_finite(ctx.exec, sum.data(), n, finite_room(ctx, n)),
                     "the sum over the ranks overflowed");
    }
    if (leads(ctx.phase)) return check_support(ctx, arrived);
    if (arrived.form == arrival_form::floats) {
      auto const update = as<float const>(arrived.messages[0]);
      return require(kernel::all_finite(ctx.exec, update.data(), n, finite_room(ctx, n)),
                     "the update that a rank sent to all is not finite");
    }
    if (proposes(ctx.phase)) {
      auto const proposals = as<float const>(arrived.messages[0]);
      for (std::size_t i = 0; i < proposals.extent(0); ++i)
        require(std::isfinite(proposals(i) * static_cast<float>(ctx.world)),
                "the agreed scale, or the sum that it allows, is not finite");
      return;
    }
    if constexpr (sums)
      if (arrived.form == arrival_form::sums)
        return for_each_sum(arrived, n, [&](sum_stream const& s, std::size_t) {
          auto const v = s.values();
          require(kernel::all_finite(ctx.exec, v.data(), v.size(), finite_room(ctx, v.size())),
                  "the sum over the ranks overflowed");
        });
    for (int p = 0; p < static_cast<int>(arrived.messages.size()); ++p) {
      auto const m = arrived.messages[static_cast<std::size_t>(p)];
      if (arrived.form == arrival_form::chunks) {
        auto const length = chunk(n, p, ctx.world).second;
        check_codes(ctx, part(m, 0, use.quantizer.code_bytes(length)), length);
      } else {
        auto const l = layout::read(use.selector, use.quantizer, use.indices, m, n);
        l.check_indices(ctx, use.indices, n);
        check_codes(ctx, l.codes, l.count);
      }
    }
  }

  void accept(context const& ctx, arrival<Exec> arrived) override {
    if (leads(ctx.phase)) return follow(ctx, arrived);
    if (proposes(ctx.phase)) {
      auto const shared = as<float const>(arrived.messages[0]);
      return kernel::copy(ctx.exec, shared.data(), shared.extent(0), agreed.data());
    }
    if constexpr (concepts::has_accept<Pr>)
      use.projector.accept(ctx, dims, ctx.phase / steps, in<Exec>(mean_coefficients(ctx, arrived)), basis);
  }

  void commit(context const& ctx, view<Exec> g, arrival<Exec> arrived) override {
    if constexpr (can_follow_rate<F>) old_rate = rate(0);
    chosen = chose;
    if constexpr (recalls)
      if (chosen) choice.commit();
    if (dense_now) return commit_signal(ctx, g, arrived);
    empty = unkept = renewed = was_whole = false;
    [[maybe_unused]] constexpr bool keep_first = requires { requires F::keeps_gradient; };
    if constexpr (direct) {
      keep(ctx, g);
      decode_mean(ctx, arrived, g);
    } else if constexpr (!Pr::linear) {
      deliver_own(ctx, g);
      mean_of_lifted(ctx, arrived, g);
      if constexpr (requires { use.projector.commit(ctx, dims, g, basis); }) use.projector.commit(ctx, dims, g, basis);
    } else {
      in<Exec> const mean = mean_coefficients(ctx, arrived);
      if constexpr (defers) {
        std::swap(debt, old_debt);
        auto const mine = in<Exec>(part(own, 0, count_of(ctx.phase)));
        use.projector.owe(ctx, dims, mean, mine, basis, debt.basis, debt.factor);
        debt.owed = true;
        if (!use.feedback.may_owe()) pay(ctx, debt, rest);
        keep(ctx, g);
        use.projector.lift(ctx, dims, mean, basis, g);
      } else if constexpr (has_memory && !keep_first &&
                           requires { use.projector.lift_both(ctx, dims, mean, mean, basis, g, view<Exec>(rest)); }) {
        auto const mine = in<Exec>(part(own, 0, count_of(ctx.phase)));
        use.projector.lift_both(ctx, dims, mean, mine, basis, g, view<Exec>(rest));
        keep(ctx, g);
      } else {
        deliver_own(ctx, g);
        auto const update = use.projector.lift(ctx, dims, mean, basis, g);
        if (update.data() != g.data()) kernel::copy(ctx.exec, update.data(), dims.size(), g.data());
      }
      if constexpr (requires { use.projector.commit(ctx, dims, mean, basis); })
        use.projector.commit(ctx, dims, mean, basis);
    }
    if constexpr (requires { use.feedback.apply(ctx, g, memory); }) use.feedback.apply(ctx, g, memory);
    if constexpr (requires { meeting.commit(); }) meeting.commit();
  }

  void undo() override {
    empty = false;
    if constexpr (can_follow_rate<F>) std::swap(rate(0), old_rate);
    if (!unkept) {
      if constexpr (requires { use.feedback.undo(rest, memory); }) use.feedback.undo(rest, memory);
      if constexpr (defers) std::swap(debt, old_debt);
    }
    if constexpr (requires { basis.undo(); })
      if (!renewed && (!was_whole || hears_of_whole)) basis.undo();
    if constexpr (requires { meeting.undo(); })
      if (!was_whole) meeting.undo();
    if constexpr (recalls)
      if (chosen) choice.undo();
    renewed = chosen = false;
  }

  void travel_dense(bool yes) override {
    if constexpr (can_go_dense) dense_now = yes;
  }

  void visit(context const& ctx, visitor const& v) override {
    settle(ctx);
    empty = false;  // whoever visits may write
    names_apart<Exec> apart(v);
    basis.visit(apart.of(Pr::name));
    memory.visit(apart.of(F::name));
    if (in_model_units()) apart("learning_rate", rate);
    meeting.visit(apart.of(X::name));
    choice.visit(apart.of(S::name));
  }

  buffer<Exec> residual([[maybe_unused]] context const& ctx) override {
    if constexpr (has_addend) {
      settle(ctx);
      empty = false;  // whoever has it may write
      return use.feedback.addend(memory);
    }
    return {};
  }

  std::size_t redrawn() const override {
    if constexpr (requires { basis.redrawn; }) return dense_now ? 0 : basis.redrawn;
    return 0;
  }

  // ---- knobs ---------------------------------------------------------------------------------------------------

  knob_change set([[maybe_unused]] context const& ctx, std::string_view knob, std::string_view value) override {
    auto changed = use;
    [[maybe_unused]] std::size_t of_projector = 0;
    auto const knobs = knobs_of(changed, of_projector);
    auto change = change_knob(knobs, knob, value);
    check_knobs(changed);
    if constexpr (requires { changed.exchange.check_world(ctx.world); }) changed.exchange.check_world(ctx.world);
    if constexpr (keeps_coefficients<X>)
      for (int p = 0; p < ctx.world; ++p)
        if (reduced_by(use, p, ctx.world) != reduced_by(changed, p, ctx.world))
          throw configuration_error(change.name +
                                    " cannot change while the tensor lives: it says which rank reduces "
                                    "what, and those ranks remember; add the tensor with this value");
    if constexpr (!std::same_as<state_of<Pr, Exec>, stateless>)
      for (std::size_t i = 0; i < of_projector; ++i)
        if (knobs[i].qualified() == change.name && change.before != change.after) renew(ctx, changed.projector);
    use = changed;
    make_room();
    return change;
  }
  std::string text() const override {
    if (!in_model_units()) return use.text();
    auto const now = wanted_rate == 0 ? rate(0) : wanted_rate;
    return use.text() + (now == 0 ? "" : " at the learning rate " + detail::knob_text(now));
  }
  bool learning_rate(float now) override {
    wanted_rate = now;
    return in_model_units();
  }
  std::string value(std::string_view knob) const override {
    auto copy = use;
    std::size_t of_projector = 0;
    auto const found = find_knob(knobs_of(copy, of_projector), knob);
    return found.text(found.field);
  }
  /// With its knobs as they are now.
  method const& current() const { return use; }

  // ---- metrics -------------------------------------------------------------------------------------------------

  void signal(context const& ctx, in<Exec> g, view<Exec> out) override {
    settle(ctx);
    auto const whole = use.feedback.compensate(ctx, g, memory, out);
    if (whole.data() != out.data()) kernel::copy(ctx.exec, whole.data(), whole.extent(0), out.data());
  }
  double left_behind(context const& ctx, bytes<Exec> message) override {
    auto const n = dims.size();
    if (dense_now) return 0;
    auto const partial = ctx.template scratch<double>(kernel::dense_chunks(n));
    if constexpr (direct && has_memory) {
      return kernel::norm(ctx.exec, rest.data(), n, partial.data());  // my contribution has left it already
    } else {
      auto const left = ctx.scratch(n);
      if constexpr (direct) {
        kernel::copy(ctx.exec, a.data(), n, left.data());
        add_own(ctx, message, -1.f, left);
        return kernel::norm(ctx.exec, left.data(), n, partial.data());
      } else {
        auto mine = view<Exec>(own);
        if constexpr (!has_memory) {
          mine = ctx.scratch(count_of(ctx.phase));
          kernel::fill_zero(ctx.exec, mine.data(), mine.extent(0));
          add_own(ctx, message, 1.f, mine);
        }
        auto const delivered = use.projector.lift(ctx, dims, in<Exec>(mine), basis, left);
        return kernel::distance(ctx.exec, a.data(), 1, delivered.data(), n, partial.data());
      }
    }
  }

  // ---- what exchanges ask for ----------------------------------------------------------------------------------

  void merge(context const& ctx, bytes<Exec> mine, in_bytes<Exec> theirs, bool keeps) override {
    if constexpr (method::kind.combines == combination::merge) {
      auto const n = count_of(ctx.phase);
      auto const ours = layout::read(use.selector, use.quantizer, use.indices, mine, n),
                 other = layout::read(use.selector, use.quantizer, use.indices, theirs, n);
      other.check_indices(ctx, use.indices, n);
      auto const k = use.selector.max_kept(n), ka = ours.count, kb = other.count;
      auto const lost_at = ctx.template scratch<index_t>(ka + kb);
      auto const lost = ctx.scratch(ka + kb);
      std::size_t dropped = 0;
      auto const work = ctx.template scratch<std::byte>(kernel::merge_top_k_workspace(ka, kb));
      kernel::merge_top_k(const_cast<index_t*>(ours.indices.data()),
                          as<float>(part(mine, layout::codes_at(use.indices, n, ka), 4 * ka)).data(), ka,
                          other.indices.data(), as<float const>(other.codes).data(), kb, k, work.data(), lost_at.data(),
                          lost.data(), dropped);
      if (keeps) return_to_memory(ctx, lost_at.data(), lost.data(), dropped);
    }
  }

  std::size_t length(context const& ctx) const override { return count_of(ctx.phase); }

  void reclaim(context const& ctx, std::span<index_t const> merged) override {
    if constexpr (method::kind.combines == combination::merge && has_memory) {
      auto const back_at = ctx.template scratch<index_t>(kept.count);
      auto const back = ctx.scratch(kept.count);
      std::size_t m = 0;
      for (std::size_t i = 0, j = 0; i < kept.count; ++i) {
        while (j < merged.size() && merged[j] < kept.indices(i)) ++j;
        if (j < merged.size() && merged[j] == kept.indices(i)) continue;
        back_at(m) = kept.indices(i);
        back(m++) = x(i);
      }
      return_to_memory(ctx, back_at.data(), back.data(), m);
    }
  }

  void* exchange_state(context const& ctx) override {
    if constexpr (std::same_as<state_of<X, Exec>, stateless>)
      return nullptr;
    else
      return last_phase(ctx) ? &meeting : nullptr;
  }

  void remember(context const& ctx, std::size_t from, in<Exec> lost) override {
    only_sent = false;
    if (has_memory && last_phase(ctx))
      kernel::accumulate(ctx.exec, lost.data(), !direct, (direct ? rest.data() : own.data()) + from, lost.extent(0));
  }

  std::size_t chunk_bytes(context const& ctx, int p) const override {
    return padded(use.quantizer.code_bytes(chunk(count_of(ctx.phase), p, ctx.world).second));
  }

  std::pair<std::size_t, std::size_t> chunk_of(context const& ctx, int p) const override {
    return chunk(count_of(ctx.phase), p, ctx.world);
  }

  void mean_of(context const& ctx, std::span<in_bytes<Exec> const> messages, view<Exec> mean) override {
    auto const n = mean.extent(0);
    bool finite = true;
    if constexpr (chunked) {
      for (std::size_t i = 0; i < messages.size(); ++i) {
        auto const codes = part(messages[i], 0, use.quantizer.code_bytes(n));
        check_codes(ctx, codes, n);
        if (i == 0)
          decode(ctx, codes, mean);
        else
          accumulate(ctx, codes, 1.f, mean);
      }
      finite = kernel::divide(ctx.exec, mean.data(), n, static_cast<float>(ctx.world));
    } else if constexpr (Pr::linear) {
      arrival<Exec> const each{messages, arrival_form::each};
      check(ctx, each);
      decode_mean(ctx, each, mean);
      finite = kernel::all_finite(ctx.exec, mean.data(), n, finite_room(ctx, n));
    }
    require(finite, "the sum over the ranks overflowed");
  }

  void recode(context const& ctx, int p, view<Exec> mean, bytes<Exec> out) override {
    if constexpr (chunked) {
      auto const [from, length] = chunk_of(ctx, p);
      auto const size = use.quantizer.code_bytes(length);
      context again = ctx;
      again.part = ctx.world + p;
      clear(out.data() + size, out.extent(0) - size);
      auto const codes = part(out, 0, size);
      bool const remembered = has_memory && last_phase(ctx);
      if constexpr (requires { use.quantizer.encode_sum(again, in<Exec>(mean), in<Exec>(), mean, codes); }) {
        if (remembered)
          use.quantizer.encode_sum(again, in<Exec>(mean), in<Exec>(), mean, codes);
        else
          use.quantizer.encode(again, in<Exec>(mean), codes);
      } else {
        use.quantizer.encode(again, in<Exec>(mean), codes);
        if (remembered) accumulate(ctx, codes, -1.f, mean);
      }
      if (remembered) {  // the owner remembers what the second encoding lost, for all ranks together
        kernel::scale_copy(ctx.exec, mean.data(), length, static_cast<float>(ctx.world), mean.data());
        remember(ctx, from, in<Exec>(mean));
      }
    }
  }

 private:
  /// What the projector keeps, made anew for other knobs.
  void renew(context const& ctx, Pr const& projector) {
    settle(ctx);
    if (old_debt.owed) pay(ctx, old_debt, rest);
    debt = old_debt = {};
    make_debts(projector);
    state_of<Pr, Exec> fresh(projector, ctx, dims);
    if constexpr (requires { fresh.carry_over(ctx, projector, dims, basis); })
      fresh.carry_over(ctx, projector, dims, basis);
    basis = std::move(fresh);
    choice = choice_for(use.selector, ctx, projector.coefficients(dims, Pr::rounds - 1));
    unguided = choice_for(use.selector, ctx, Pr::rounds > 1 ? projector.coefficients(dims, 0) : 0);
    chosen = false;
    renewed = true;
  }
  static state_of<S, Exec> choice_for(S const& s, context const& ctx, std::size_t n) { return {s, ctx, shape{n, 1}}; }
  void make_debts([[maybe_unused]] Pr const& projector) {
    if constexpr (defers)
      for (auto* d : {&debt, &old_debt})
        *d = {room(projector.coefficients(dims, 0)), room(projector.coefficients(dims, Pr::rounds - 1)), false};
  }
  /// Workspace whose size hangs on knobs.
  void make_room() {
    [[maybe_unused]] auto const most = most_coefficients();
    if constexpr (!direct) {
      if (coefficients.extent(0) != most) coefficients = room(most);
      auto const last = use.projector.coefficients(dims, Pr::rounds - 1);
      if (has_memory && own.extent(0) != last) own = room(last);
    }
    if constexpr (!dense) {
      auto const k = use.selector.max_kept(most);
      if (kept.indices.extent(0) != k) kept.indices = unwritten<Exec, index_t>("gradpress::kept", k);
      if (values.extent(0) != k) values = room(k);
    }
    if constexpr (agreeing<Q>) {
      auto const size = use.quantizer.agreement_size(most);
      if (agreed.extent(0) != size) agreed = room(size);
    }
  }
  static buffer<Exec> room(std::size_t n) { return unwritten<Exec>("gradpress::tensor", n); }
  /// Only coefficients of the last round carry the update; what an earlier round loses changes the basis and no mass.
  bool last_phase(context const& ctx) const { return ctx.phase == rounds * steps - 1; }
  static bool leads(int phase) { return leading<S> && phase % steps == 0; }
  static bool proposes(int phase) { return agreeing<Q> && phase % steps == steps - 2; }
  std::size_t count_of(int phase) const {
    if (dense_now) return dims.size();
    if constexpr (requires { use.projector.coefficients(dims, 0, basis); })
      return use.projector.coefficients(dims, phase / steps, basis);
    else
      return use.projector.coefficients(dims, phase / steps);
  }
  std::size_t most_coefficients() const {
    std::size_t most = 0;
    for (int r = 0; r < Pr::rounds; ++r) most = std::max(most, use.projector.coefficients(dims, r));
    return most;
  }
  std::size_t agreement_bytes(std::size_t m) const {
    if constexpr (agreeing<Q>) return 4 * use.quantizer.agreement_size(m);
    return 0;
  }
  static std::size_t grain_of(Q const& q) {
    if constexpr (requires { q.grain(); }) return q.grain();
    return 1;
  }
  /// Where chunk p of m values starts, and its length: equal numbers of grains, the last chunks shorter.
  static std::pair<std::size_t, std::size_t> chunk(std::size_t m, int p, int world, std::size_t grain) {
    auto const grains = (m + grain - 1) / grain, P = static_cast<std::size_t>(world);
    auto const each = (grains + P - 1) / P * grain, from = std::min(m, static_cast<std::size_t>(p) * each);
    return {from, std::min(m - from, each)};
  }
  std::pair<std::size_t, std::size_t> chunk(std::size_t m, int p, int world) const {
    return chunk(m, p, world, grain_of(use.quantizer));
  }
  /// Of an exchange that keeps something of them: the elements that rank p reduces.
  std::pair<std::size_t, std::size_t> reduced_by([[maybe_unused]] method const& m, [[maybe_unused]] int p,
                                                 [[maybe_unused]] int world) const {
    if constexpr (chunked)
      return chunk(dims.size(), p, world, grain_of(m.quantizer));
    else if constexpr (keeps_coefficients<X>)
      return {0, m.exchange.reduces(p) ? dims.size() : 0};
    return {0, 0};
  }
  static void require(bool finite, char const* what = "the gradient, or gradient plus memory, is not finite") {
    if (!finite) throw non_finite_error(what);
  }
  static unsigned char* finite_room(context const& ctx, std::size_t n) {
    return ctx.template scratch<unsigned char>(kernel::dense_chunks(n)).data();
  }

  /// Of its policies, the projector's first: `of_projector` of them.
  static std::vector<detail::live_knob> knobs_of(method& m, std::size_t& of_projector) {
    std::vector<detail::live_knob> knobs;
    detail::append_knobs(m.projector, knobs);
    of_projector = knobs.size();
    detail::append_knobs(m.selector, knobs), detail::append_knobs(m.quantizer, knobs);
    detail::append_knobs(m.feedback, knobs), detail::append_knobs(m.exchange, knobs);
    detail::append_knobs(m.indices, knobs);
    return knobs;
  }

  // ---- the whole signal, dense, where compression does not pay ---------------------------------------------------

  std::size_t write_signal(context const& ctx, in<Exec> g, bytes<Exec> out) {
    auto const n = dims.size();
    settle(ctx);
    auto const signal = empty ? g : use.feedback.compensate(ctx, g, memory, rest);
    require(kernel::all_finite(ctx.exec, signal.data(), n, finite_room(ctx, n)));
    kernel::copy(ctx.exec, signal.data(), n, as<float>(part(out, 0, 4 * n)).data());
    if (has_memory && !empty) kernel::fill_zero(ctx.exec, rest.data(), n);  // all of it is delivered
    return 4 * n;
  }
  void commit_signal(context const& ctx, view<Exec> g, arrival<Exec> arrived) {
    unkept = empty;
    renewed = false;
    was_whole = true;
    if constexpr (defers)
      if (!empty) std::swap(debt, old_debt), debt.owed = false;
    if (!empty) keep(ctx, g);
    empty = has_addend;
    kernel::divide_copy(ctx.exec, as<float const>(arrived.messages[0]).data(), g.extent(0),
                        static_cast<float>(ctx.world), g.data());
    if constexpr (hears_of_whole) use.projector.commit_whole(ctx, dims, in<Exec>(g), basis);
    if constexpr (requires { use.feedback.apply(ctx, g, memory); }) use.feedback.apply(ctx, g, memory);
  }

  // ---- the stages ----------------------------------------------------------------------------------------------

  // Where one rank leads, its support travels in a phase of its own, and the others' sections of that phase are empty.

  bool is_leader(context const& ctx) const {
    if constexpr (leading<S>) return use.selector.leader(ctx) == ctx.rank;
    return false;
  }
  void first_entries(std::size_t k) {
    for (index_t i = 0; i < k; ++i) kept.indices(i) = i;
    kept.count = k;
  }
  std::size_t write_support(context const& ctx, bytes<Exec> out) const {
    if (!is_leader(ctx)) return 0;
    auto const n = count_of(ctx.phase);
    use.indices.write(kept.indices.data(), kept.count, n, out.data());
    return use.indices.index_bytes(n, kept.count);
  }
  void check_support(context const& ctx, arrival<Exec> arrived) {
    if constexpr (leading<S>) {
      auto const n = count_of(ctx.phase), k = use.selector.max_kept(n);
      auto const leader = static_cast<std::size_t>(use.selector.leader(ctx));
      for (std::size_t p = 0; p < arrived.messages.size(); ++p)
        if (auto const size = p == leader ? use.indices.index_bytes(n, k) : 0; arrived.messages[p].extent(0) != size)
          throw payload_error("has a support of " + std::to_string(arrived.messages[p].extent(0)) +
                              " bytes from rank " + std::to_string(p) + " where " + std::to_string(size) + " were due");
      if (!use.indices.read(arrived.messages[leader].data(), k, n, kept.indices.data()))
        throw payload_error("has a support whose indices do not ascend inside the tensor");
      kept.count = k;
    }
  }
  /// The support is known: takes the values that lie there.
  void follow(context const& ctx, arrival<Exec>) {
    kernel::gather(ctx.exec, c.data(), kept.indices.data(), kept.count, values.data());
    x = part(values, 0, kept.count);
  }

  /// Signal, coefficients, selection: by a fused hook where one fits, else stage by stage. Same bits.
  void prepare(context const& ctx, in<Exec> g) {
    auto const round = ctx.phase / steps;
    if constexpr (fuses_select || fuses_form) {
      require(select_while_making(ctx, g, view<Exec>(rest), view<Exec>(values)));
      a = c = rest;
      x = part(values, 0, kept.count);
      return;
    } else if constexpr (fuses_quantize) {
      a = c = x = rest;  // filled by write()
      return;
    } else {
      bool projected = false;
      if constexpr (fuses_project) {
        if (round == 0) {
          require(compensate_and_project(ctx, g));
          a = rest;
          c = part(coefficients, 0, count_of(ctx.phase));
          projected = true;
        }
      }
      if (!projected) {
        if (round == 0) a = use.feedback.compensate(ctx, g, memory, rest);
        if constexpr (!direct)
          if (round == 0) require(kernel::all_finite(ctx.exec, a.data(), a.extent(0), finite_room(ctx, a.extent(0))));
        c = use.projector.project(ctx, dims, round, a, basis, part(coefficients, 0, direct ? 0 : count_of(ctx.phase)));
      }
      if constexpr (!direct)
        require(kernel::all_finite(ctx.exec, c.data(), c.extent(0), finite_room(ctx, c.extent(0))));
      if constexpr (dense) {
        kept.count = c.extent(0);
        x = c;
      } else if constexpr (leading<S>) {
        if (is_leader(ctx))
          select(ctx);
        else if constexpr (direct)
          require(kernel::all_finite(ctx.exec, c.data(), c.extent(0), finite_room(ctx, c.extent(0))));
      } else if constexpr (writes_values<S>) {
        if constexpr (wants_fresh<S>)
          require(chooser(ctx).select_fresh(ctx, a, g, kept, view<Exec>(values)));
        else
          require(chooser(ctx).select_values(ctx, c, kept, view<Exec>(values)));
        x = part(values, 0, kept.count);
      } else {
        select(ctx);
        kernel::gather(ctx.exec, c.data(), kept.indices.data(), kept.count, values.data());
        x = part(values, 0, kept.count);
      }
    }
  }

  bool select_while_making(context const& ctx, in<Exec> g, view<Exec> signal, view<Exec> sent) {
    if constexpr (fuses_select) {
      return chooser(ctx).select_sum(ctx, g, in<Exec>(use.feedback.addend(memory)), signal, kept, sent);
    } else if constexpr (fuses_form) {
      auto const form = use.feedback.form(ctx, g, memory);
      return chooser(ctx).select_formed(ctx, kernel::forming(form), signal, kept, sent);
    }
  }
  bool compensate_and_project(context const& ctx, in<Exec> g) {
    auto const e = in<Exec>(use.feedback.addend(memory));
    auto const signal = view<Exec>(rest), to = view<Exec>(coefficients);
    if constexpr (defers)
      if (debt.owed)
        return use.projector.project_owed(ctx, dims, g, e, in<Exec>(debt.basis), in<Exec>(debt.factor), signal, basis,
                                          to);
    return use.projector.project_sum(ctx, dims, g, e, signal, basis, to);
  }
  /// Relieves the memory of what it owes, the same numbers as if it had never owed it, and brings it into the units of
  /// the learning rate as it is now; false, and in the old units, if it has numbers that are too large for that.
  bool settle([[maybe_unused]] context const& ctx) {
    if constexpr (defers)
      if (debt.owed) pay(ctx, debt, use.feedback.addend(memory));
    if constexpr (can_follow_rate<F>) {
      if (wanted_rate == 0 || wanted_rate == rate(0)) return true;
      if (in_model_units() && rate(0) != 0 && !use.feedback.rescale(ctx, rate(0) / wanted_rate, memory)) return false;
      rate(0) = wanted_rate;
    }
    return true;
  }
  bool in_model_units() const {
    if constexpr (can_follow_rate<F>) return use.feedback.in_model_units();
    return false;
  }
  /// The first thing of a step.
  void follow_rate([[maybe_unused]] context const& ctx) {
    if constexpr (can_follow_rate<F>) {
      if (in_model_units() && wanted_rate == 0 && rate(0) == 0)
        throw configuration_error(
            "a memory in units of the model needs the learning rate; call "
            "reducer.learning_rate(rate) before average");
      if (!in_model_units())
        rate(0) = wanted_rate;
      else if (wanted_rate != rate(0))
        require(settle(ctx), "the memory, in units of the new learning rate, is not finite");
    }
  }
  void pay(context const& ctx, product& what, buffer<Exec> const& from) {
    if constexpr (defers) {
      use.projector.settle(ctx, dims, in<Exec>(what.basis), in<Exec>(what.factor), view<Exec>(from));
      what.owed = false;
    }
  }

  void select(context const& ctx) {
    if constexpr (std::same_as<decltype(chooser(ctx).select(ctx, c, kept)), bool>) {
      require(chooser(ctx).select(ctx, c, kept));
    } else {
      if constexpr (direct) require(kernel::all_finite(ctx.exec, c.data(), c.extent(0), finite_room(ctx, c.extent(0))));
      chooser(ctx).select(ctx, c, kept);
    }
  }
  /// The selector, with what it keeps if it does.
  working<S, Exec> const chooser([[maybe_unused]] context const& ctx) {
    bool const last = ctx.phase / steps == rounds - 1;
    chose = chose || last;
    return at_work<S, Exec>(use.selector, last ? choice : unguided);
  }

  std::size_t propose(context const& ctx, [[maybe_unused]] in<Exec> g, bytes<Exec> out) {
    auto const size = agreement_bytes(x.extent(0));
    if constexpr (agreeing<Q>) {
      auto const mine = as<float>(part(out, 0, size));
      if constexpr (fuses_quantize) {
        require(use.quantizer.propose_sum(ctx, g, in<Exec>(use.feedback.addend(memory)), mine));
      } else if constexpr (std::same_as<decltype(use.quantizer.propose(ctx, x, mine)), bool>) {
        require(use.quantizer.propose(ctx, x, mine));
      } else {
        check_values(ctx);
        use.quantizer.propose(ctx, x, mine);
      }
    }
    return size;
  }

  std::size_t write(context const& ctx, in<Exec> g, bytes<Exec> out) {
    if constexpr (chunked) {
      std::size_t at = 0;
      context piece = ctx;
      for (int p = 0; p < ctx.world; ++p) {
        auto const [from, length] = chunk(count_of(ctx.phase), p, ctx.world);
        auto const size = use.quantizer.code_bytes(length);
        clear(out.data() + at + size, padded(size) - size);
        piece.part = p;
        write_codes(piece, g, from, length, part(out, at, size));
        at += padded(size);
      }
      return at;
    } else {
      if constexpr (dense) kept.count = count_of(ctx.phase);
      auto const n = count_of(ctx.phase);
      write_codes(ctx, g, 0, kept.count, layout::write_head(use.quantizer, use.indices, n, kept, out));
      return layout::size(use.quantizer, use.indices, n, kept.count);
    }
  }

  void write_codes(context const& ctx, in<Exec> g, std::size_t from, std::size_t length, bytes<Exec> codes) {
    auto const& q = use.quantizer;
    if constexpr (fuses_quantize && agreeing<Q>) {
      q.encode_sum(ctx, part(g, from, length), in<Exec>(part(use.feedback.addend(memory), from, length)),
                   in<Exec>(agreed), part(rest, from, length), codes);
    } else if constexpr (fuses_quantize) {
      require(q.encode_sum(ctx, part(g, from, length), in<Exec>(part(use.feedback.addend(memory), from, length)),
                           part(rest, from, length), codes));
    } else if constexpr (agreeing<Q>) {
      q.encode(ctx, in<Exec>(part(x, from, length)), in<Exec>(agreed), codes);
    } else if constexpr (std::same_as<decltype(q.encode(ctx, x, codes)), bool>) {
      require(q.encode(ctx, in<Exec>(part(x, from, length)), codes));
    } else {
      if (from == 0) check_values(ctx);
      q.encode(ctx, in<Exec>(part(x, from, length)), codes);
    }
  }

  /// The generic finite check of a dense direct tensor whose selector and quantizer do not vouch for one.
  void check_values(context const& ctx) {
    if constexpr (direct && dense)
      require(kernel::all_finite(ctx.exec, c.data(), c.extent(0), finite_room(ctx, c.extent(0))));
  }

  /// What of mine is about to arrive, as really decoded from my own message, leaves the signal.
  void contribute(context const& ctx, bytes<Exec> message) {
    if constexpr (has_memory && !fuses_quantize) {
      if constexpr (!direct) kernel::fill_zero(ctx.exec, own.data(), count_of(ctx.phase));
      add_own(ctx, message, direct ? -1.f : 1.f, view<Exec>(direct ? rest : own));
    }
  }
  /// Coefficients of my own message, decoded: subtracted from `target`, or, behind a projector, added to zeros.
  void add_own(context const& ctx, bytes<Exec> message, float sign, view<Exec> target) {
    auto const n = count_of(ctx.phase);
    if constexpr (chunked) {
      std::size_t at = 0;
      for (int p = 0; p < ctx.world; ++p) {
        auto const [from, length] = chunk(n, p, ctx.world);
        auto const size = use.quantizer.code_bytes(length);
        accumulate(ctx, in_bytes<Exec>(part(message, at, size)), sign, part(target, from, length));
        at += padded(size);
      }
    } else {
      auto const l = layout::read(use.selector, use.quantizer, use.indices, message, n);
      if constexpr (dense) {
        accumulate(ctx, l.codes, sign, part(target, 0, n));
      } else {
        auto const sent = ctx.scratch(l.count);
        decode(ctx, l.codes, sent);
        if constexpr (direct)
          kernel::subtract_at(ctx.exec, target.data(), kept.indices.data(), sent.data(), l.count);
        else
          kernel::put_at(target.data(), kept.indices.data(), sent.data(), l.count);
      }
    }
  }

  void return_to_memory(context const& ctx, index_t const* at, float const* dropped, std::size_t m) {
    if (has_memory && last_phase(ctx)) {
      only_sent = false;
      if constexpr (direct)
        kernel::add_at(rest.data(), at, dropped, m);
      else
        kernel::subtract_at(ctx.exec, own.data(), at, dropped, m);
    }
  }

  /// Behind a projector: what of mine was delivered, lifted, leaves the signal.
  void deliver_own(context const& ctx, view<Exec> g) {
    if constexpr (has_memory) {
      auto const mine = in<Exec>(part(own, 0, count_of(ctx.phase)));
      auto const delivered = use.projector.lift(ctx, dims, mine, basis, ctx.scratch(dims.size()));
      kernel::accumulate(ctx.exec, delivered.data(), true, rest.data(), dims.size());
      keep(ctx, g);
    }
  }

  void keep(context const& ctx, view<Exec> g) {
    if constexpr (keeps_by_position)
      if (only_sent)
        return use.feedback.keep_at(ctx, in<Exec>(g), rest, in<Exec, index_t>(kept.indices.data(), kept.count), memory);
    if constexpr (has_memory) use.feedback.keep(ctx, in<Exec>(g), rest, memory);
  }

  // ---- decoding ------------------------------------------------------------------------------------------------

  void decode(context const& ctx, in_bytes<Exec> codes, view<Exec> out) const {
    if constexpr (agreeing<Q>)
      use.quantizer.decode(ctx, codes, in<Exec>(agreed), out);
    else
      use.quantizer.decode(ctx, codes, out);
  }
  void accumulate(context const& ctx, in_bytes<Exec> codes, float factor, view<Exec> sum) const {
    if constexpr (requires { use.quantizer.accumulate(ctx, codes, factor, sum); }) {
      use.quantizer.accumulate(ctx, codes, factor, sum);
    } else {
      auto const decoded = ctx.scratch(sum.extent(0));
      decode(ctx, codes, decoded);
      kernel::accumulate(ctx.exec, decoded.data(), factor < 0, sum.data(), sum.extent(0));
    }
  }
  void check_codes(context const& ctx, in_bytes<Exec> codes, std::size_t m) const {
    if constexpr (requires {
                    { use.quantizer.finite(ctx, codes, m) } -> std::same_as<bool>;
                  })
      if (!use.quantizer.finite(ctx, codes, m))
        throw non_finite_error("a message, or the sum of all ranks' messages, decodes to numbers that are not finite");
  }

  /// Calls f(sum, where its part starts) for each part of n coefficients.
  template <class Use>
  static void for_each_sum(arrival<Exec> arrived, std::size_t n, Use const& f) {
    auto const parts = arrived.messages.size();
    for (std::size_t p = 0; p < parts; ++p) {
      auto const [from, length] = slice_of(n, p, parts);
      auto const m = arrived.messages[p];
      auto const sum = sum_stream::read(m.data(), m.extent(0), length);
      if (sum.size() != m.extent(0)) throw payload_error("is longer than the sum that it holds");
      f(sum, from);
    }
  }

  /// The mean over the ranks, written once.
  void decode_mean(context const& ctx, arrival<Exec> arrived, view<Exec> out) const {
    auto const n = out.extent(0);
    auto const P = static_cast<float>(ctx.world);
    auto const& q = use.quantizer;
    if (arrived.form == arrival_form::floats)
      return kernel::copy(ctx.exec, as<float const>(arrived.messages[0]).data(), n, out.data());
    if constexpr (sums)
      if (arrived.form == arrival_form::sums)
        return for_each_sum(arrived, n, [&](sum_stream const& s, std::size_t from) {
          if (s.dense != nullptr)
            kernel::divide_copy(ctx.exec, s.dense, s.length, P, out.data() + from);
          else
            kernel::scatter_mean(ctx.exec, &s.sparse, 1, P, out.data() + from, s.length);
        });
    if (arrived.form == arrival_form::chunks) {
      for (int p = 0; p < ctx.world; ++p) {
        auto const [from, length] = chunk(n, p, ctx.world);
        decode(ctx, part(arrived.messages[static_cast<std::size_t>(p)], 0, q.code_bytes(length)),
               part(out, from, length));
      }
    } else if constexpr (dense) {
      auto const codes = [&](std::size_t i) {
        return part(arrived.messages[i], layout::codes_at(use.indices, n, n), q.code_bytes(n));
      };
      if constexpr (requires { q.decode_mean(ctx, in_bytes<Exec>(codes(0)), ctx.world, out); })
        if (arrived.messages.size() == 1) return q.decode_mean(ctx, in_bytes<Exec>(codes(0)), ctx.world, out);
      decode(ctx, codes(0), out);
      for (std::size_t i = 1; i < arrived.messages.size(); ++i) accumulate(ctx, codes(i), 1.f, out);
      kernel::divide(ctx.exec, out.data(), n, P);
    } else {
      auto const streams = ctx.template scratch<kernel::stream>(arrived.messages.size());
      for (std::size_t i = 0; i < arrived.messages.size(); ++i) {
        auto const l = layout::read(use.selector, q, use.indices, arrived.messages[i], n);
        auto const decoded = ctx.scratch(l.count);
        decode(ctx, l.codes, decoded);
        auto const* at = kept.indices.data();
        if constexpr (layout::indexed) at = l.positions(ctx, use.indices, n).data();
        streams(i) = {at, decoded.data(), l.count};
      }
      kernel::scatter_mean(ctx.exec, streams.data(), streams.extent(0), P, out.data(), n);
    }
  }
  /// Of coefficients that do not add up: each rank's, lifted, and the mean of those.
  void mean_of_lifted(context const& ctx, arrival<Exec> arrived, view<Exec> g) {
    auto const n = count_of(ctx.phase), size = dims.size();
    auto const coefs = ctx.scratch(n);
    view<Exec> const room = ctx.scratch(size);
    for (std::size_t i = 0; i < arrived.messages.size(); ++i) {
      decode_message(ctx, arrived.messages[i], n, coefs);
      auto const lifted = use.projector.lift(ctx, dims, in<Exec>(coefs), basis, i == 0 ? g : room);
      if (i > 0)
        kernel::accumulate(ctx.exec, lifted.data(), false, g.data(), size);
      else if (lifted.data() != g.data())
        kernel::copy(ctx.exec, lifted.data(), size, g.data());
    }
    kernel::divide(ctx.exec, g.data(), size, static_cast<float>(ctx.world));
  }
  /// All n coefficients of one rank's message.
  void decode_message(context const& ctx, in_bytes<Exec> message, std::size_t n, view<Exec> out) const {
    auto const l = layout::read(use.selector, use.quantizer, use.indices, message, n);
    if constexpr (dense) {
      decode(ctx, l.codes, out);
    } else {
      auto const sent = ctx.scratch(l.count);
      decode(ctx, l.codes, sent);
      auto const* at = kept.indices.data();
      if constexpr (layout::indexed) at = l.positions(ctx, use.indices, n).data();
      kernel::fill_zero(ctx.exec, out.data(), n);
      kernel::put_at(out.data(), at, sent.data(), l.count);
    }
  }
  view<Exec> mean_coefficients(context const& ctx, arrival<Exec> arrived) const {
    auto const mean = ctx.scratch(count_of(ctx.phase));
    decode_mean(ctx, arrived, mean);
    return mean;
  }

  static constexpr bool keeps_by_position = direct && !dense && has_memory &&
                                            requires(F const& f, context const& ctx, in<Exec> g, buffer<Exec>& r,
                                                     in<Exec, index_t> at, state_of<F, Exec>& s) {
    f.keep_at(ctx, g, r, at, s);
  };
  static constexpr bool fuses_select =
      direct && !dense && has_memory && has_addend &&
      requires(working<S, Exec> const& s, context const& ctx, in<Exec> v, view<Exec> w, selection<Exec>& k) {
    { s.select_sum(ctx, v, v, w, k, w) } -> std::same_as<bool>;
  };
  static constexpr bool fuses_form = direct && !dense && has_memory && !fuses_select &&
                                     requires(F const& f, working<S, Exec> const& s, context const& ctx, in<Exec> v,
                                              state_of<F, Exec>& m, view<Exec> w, selection<Exec>& k) {
    { s.select_formed(ctx, kernel::forming(f.form(ctx, v, m)), w, k, w) } -> std::same_as<bool>;
  };
  static constexpr bool encodes_sums =
      requires(Q const& q, context const& ctx, in<Exec> v, view<Exec> w, bytes<Exec> b) {
    { q.encode_sum(ctx, v, v, w, b) } -> std::same_as<bool>;
  };
  static constexpr bool agrees_on_sums =
      requires(Q const& q, context const& ctx, in<Exec> v, view<Exec> w, bytes<Exec> b) {
    { q.propose_sum(ctx, v, v, w) } -> std::same_as<bool>;
    q.encode_sum(ctx, v, v, v, w, b);
  };
  static constexpr bool fuses_quantize =
      direct && dense && has_memory && has_addend && (agreeing<Q> ? agrees_on_sums : encodes_sums);
  static constexpr bool fuses_project =
      !direct && has_memory && has_addend &&
      requires(Pr const& p, context const& ctx, shape d, in<Exec> v, view<Exec> w, state_of<Pr, Exec>& s) {
    { p.project_sum(ctx, d, v, v, w, s, w) } -> std::same_as<bool>;
  };
  /// Does a step that sends the whole signal move what the projector keeps?
  static constexpr bool hears_of_whole =
      requires(Pr const& p, context const& ctx, shape d, in<Exec> v, state_of<Pr, Exec>& s) {
    p.commit_whole(ctx, d, v, s);
  };
  static constexpr bool defers =
      fuses_project && can_owe<F> &&
      requires(Pr const& p, context const& ctx, shape d, in<Exec> v, view<Exec> w, state_of<Pr, Exec>& s) {
    { p.project_owed(ctx, d, v, v, v, v, w, s, w) } -> std::same_as<bool>;
  };
};

}  // namespace gradpress
