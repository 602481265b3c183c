// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// A `predictive` or `ef21_plus` method at work on a tensor.
///
///     [u32 word][f32 coefficients][u64 checksum of the sender's own history][message of the code]
///
/// Bit 0 of the word: a message of the code follows. Bit 1: a checksum follows. Bits 8 to 15: how many coefficients.
/// `ef21_plus`: no coefficients; bit 2: the only one is 1, else 0.

#include <gradpress/compressor.hpp>
#include <gradpress/kernel/prediction.hpp>
#include <gradpress/method/mirrored_history.hpp>
#include <gradpress/method/temporal_prediction.hpp>

#include <cstring>

namespace gradpress {

template <class Exec, class Code, class X, class How>
class tensor_coder<Exec, predictive_method<Code, X, How>> final : public coder<Exec> {
  using method = predictive_method<Code, X, How>;
  using visitor = typename coder<Exec>::visitor;
  using context = step<Exec>;

  /// What a rank says in front of its code.
  struct notes {
    int known = 0;  // past gradients
    bool checks = false;
    bool sent = false;
    bool keeps = false;  // where no coefficient travels: it is 1
    std::array<float, kernel::most_terms> factor{How::fits ? 0.f : 1.f};
    std::uint64_t checksum = 0;

    /// How many past gradients the prediction is made of.
    [[nodiscard]] int terms() const { return How::fits || keeps ? known : 0; }
    [[nodiscard]] std::size_t factor_bytes() const { return How::fits ? 4 * static_cast<std::size_t>(known) : 0; }
    [[nodiscard]] std::size_t bytes() const { return 4 + factor_bytes() + (checks ? sizeof checksum : 0); }
    [[nodiscard]] std::uint32_t word() const {
      return static_cast<std::uint32_t>(known) << 8 | (!How::fits && terms() > 0 ? 4u : 0u) | (checks ? 2u : 0u) |
             (sent ? 1u : 0u);
    }
  };

  method use;
  shape dims;
  tensor_coder<Exec, Code> code;
  mirrored_history<Exec> history;
  state_of<X, Exec> meeting;
  std::vector<float const*> newest;  // of each rank, at the commit
  in_bytes<Exec> sent;               // this rank's message, in its letter until the next step
  buffer<Exec> rest;                 // what the prediction lacks, until its code is written and measured
  double lost = 0;                   // norm of what the better of two codes left out

 public:
  tensor_coder(method const& m, context const& ctx, shape d)
      : use(m),
        dims(d),
        code(m.code, ctx, d),
        history(blank(ctx, m)),
        meeting(m.exchange, ctx, shape{keeps_coefficients<X> && !mirrors_all(m, ctx) ? 0 : d.size(), 1}),
        newest(static_cast<std::size_t>(ctx.world)),
        rest(unwritten<Exec>("gradpress::tensor", d.size())) {}

  bool begin(context const&) override { return false; }
  int phases() const override { return 1; }
  std::size_t capacity(int, int world) const override {
    return notes{.known = use.how.order, .checks = true}.bytes() + code.capacity(0, world);
  }

  std::size_t encode(context const& ctx, in<Exec> g, bytes<Exec> out) override {
    if constexpr (How::fits)
      return encode_lacking(ctx, g, notes_of(ctx), out);
    else
      return encode_nearer(ctx, g, notes_of(ctx), out);
  }
  std::size_t silence(context const& ctx, bytes<Exec> out) override {
    auto mine = notes_of(ctx);
    mine.sent = !How::fits || mine.known == 0;
    write(mine, out);
    // A rank that failed may have to add what the others send.
    auto const coded = mine.sent || draws_support ? code.silence(alone(ctx), after(mine, out)) : 0;
    return mine.bytes() + (mine.sent ? coded : 0);
  }

  void check(context const& ctx, arrival<Exec> arrived) override {
    if (arrived.form == arrival_form::each) return reconstruct_all(ctx, arrived.messages);
    auto const update = as<float const>(arrived.messages[0]);
    if (!kernel::all_finite(ctx.exec, update.data(), size(),
                            ctx.template scratch<unsigned char>(kernel::dense_chunks(size())).data()))
      throw non_finite_error("the update that a rank sent to all is not finite");
    if (!mirrors_all(use, ctx)) reconstruct(ctx, ctx.rank, sent);
  }
  void mean_of(context const& ctx, std::span<in_bytes<Exec> const> messages, view<Exec> mean) override {
    reconstruct_all(ctx, messages);
    take_mean(ctx, mean);
  }
  void accept(context const&, arrival<Exec>) override {}

  void commit(context const& ctx, view<Exec> g, arrival<Exec> arrived) override {
    if (arrived.form == arrival_form::floats)
      kernel::copy(ctx.exec, as<float const>(arrived.messages[0]).data(), size(), g.data());
    else
      take_mean(ctx, g);
    history.push();
    if constexpr (requires { meeting.commit(); }) meeting.commit();
  }
  void undo() override {
    history.pop();
    if constexpr (requires { meeting.undo(); }) meeting.undo();
  }
  void visit(context const&, visitor const& v) override {
    history.visit(v);
    meeting.visit(v);
  }
  std::size_t redrawn() const override { return 0; }

  knob_change set(context const& ctx, std::string_view knob, std::string_view value) override {
    auto changed = use;
    auto const change = change_knob(knobs_of(changed), knob, value);
    check_knobs(changed);
    if constexpr (requires { changed.exchange.check_world(ctx.world); }) changed.exchange.check_world(ctx.world);
    if (reducer_of(use, ctx.world) != reducer_of(changed, ctx.world))
      throw configuration_error(change.name +
                                " cannot change while the tensor lives: the rank that reduces knows the "
                                "others' histories; add the tensor with this value");
    if (changed.code.text() != use.code.text()) static_cast<void>(code.set(ctx, change.name, value));
    if (changed.how.order != use.how.order || changed.how.resync != use.how.resync) history = blank(ctx, changed);
    use = changed;
    return change;
  }
  std::string text() const override { return use.text(); }
  std::string value(std::string_view knob) const override {
    auto copy = use;
    auto const found = find_knob(knobs_of(copy), knob);
    return found.text(found.field);
  }
  method const& current() const { return use; }

  buffer<Exec> residual(context const&) override { return {}; }
  bool learning_rate(float) override { return false; }
  void travel_dense(bool) override {}
  void signal(context const& ctx, in<Exec> g, view<Exec> out) override {
    kernel::copy(ctx.exec, g.data(), size(), out.data());
  }
  double left_behind(context const& ctx, bytes<Exec> message) override {
    if (!How::fits) return lost;
    auto const mine = read(ctx, message, ctx.rank);
    if (mine.sent) return code.left_behind(alone(ctx), after(mine, message));
    return kernel::norm(ctx.exec, rest.data(), size(),
                        ctx.template scratch<double>(kernel::dense_chunks(size())).data());
  }

  // Nothing that merges or cuts what ranks send carries these messages, and there is no memory for what an update loses.
  void merge(context const&, bytes<Exec>, in_bytes<Exec>, bool) override {}
  std::size_t length(context const&) const override { return size(); }
  void reclaim(context const&, std::span<index_t const>) override {}
  void* exchange_state(context const&) override { return &meeting; }
  void remember(context const&, std::size_t, in<Exec>) override {}
  std::pair<std::size_t, std::size_t> chunk_of(context const&, int) const override { return {0, 0}; }
  std::size_t chunk_bytes(context const&, int) const override { return 0; }
  void recode(context const&, int, view<Exec>, bytes<Exec>) override {}

 private:
  static constexpr char const* remedy =
      "; give all ranks the same parameters, change the knob resync alike on all of them, and repeat the step";
  /// The support is not in the message: a rank that is silent must draw it all the same.
  static constexpr bool draws_support = decltype(Code::selector)::where == support::shared;

  std::size_t size() const { return dims.size(); }
  /// The rank that reduces; -1 if all do.
  static int reducer_of([[maybe_unused]] method const& m, [[maybe_unused]] int world) {
    if constexpr (requires { m.exchange.reduces(0); })
      for (int p = 0; p < world; ++p)
        if (m.exchange.reduces(p)) return p;
    return -1;
  }
  static bool mirrors_all(method const& m, context const& ctx) {
    auto const p = reducer_of(m, ctx.world);
    return p < 0 || p == ctx.rank;
  }
  /// Histories of those whose messages come here, and of this rank.
  mirrored_history<Exec> blank(context const& ctx, method const& m) const {
    bool const all = mirrors_all(m, ctx);
    return {ctx.exec, all ? 0 : ctx.rank, all ? ctx.world : 1, m.how.order, size()};
  }
  static std::vector<detail::live_knob> knobs_of(method& m) {
    std::vector<detail::live_knob> knobs;
    detail::append_knobs(m.how, knobs);
    detail::append_knobs(m.code.selector, knobs), detail::append_knobs(m.code.quantizer, knobs);
    detail::append_knobs(m.code.indices, knobs), detail::append_knobs(m.exchange, knobs);
    return knobs;
  }
  /// The step as the code of a single rank's residual sees it: one phase, and a mean over itself.
  static context alone(context const& ctx) {
    auto one = ctx;
    one.phase = 0;
    one.world = 1;
    return one;
  }

  /// Coefficients of least squares; returns the norm of g.
  double fit(context const& ctx, in<Exec> g, notes& mine) const {
    std::array<float const*, kernel::most_terms + 1> x{g.data()};
    for (int lag = 1; lag <= mine.known; ++lag) x[static_cast<std::size_t>(lag)] = history.past(ctx.rank, lag).data();
    auto const partial = ctx.template scratch<kernel::inner_products>(kernel::dense_chunks(size()));
    auto const products = kernel::dot_all(ctx.exec, x.data(), mine.known + 1, size(), partial.data());
    mine.factor = kernel::least_squares(products, mine.known);
    return std::sqrt(products[0]);
  }
  kernel::combination_of predicted(int p, notes const& said) const {
    kernel::combination_of c{.factor = said.factor, .count = said.terms()};
    for (int lag = 1; lag <= said.terms(); ++lag) c.x[static_cast<std::size_t>(lag - 1)] = history.past(p, lag).data();
    return c;
  }
  /// Writes into `rest` what the prediction lacks, and returns its norm.
  double residual_of(context const& ctx, in<Exec> g, notes const& mine) {
    auto const partial = ctx.template scratch<double>(kernel::dense_chunks(size()));
    return std::sqrt(
        kernel::residual(ctx.exec, predicted(ctx.rank, mine), g.data(), rest.data(), size(), partial.data()));
  }
  /// What the prediction by least squares lacks, if that is much.
  std::size_t encode_lacking(context const& ctx, in<Exec> g, notes mine, bytes<Exec> out) {
    auto const length = fit(ctx, g, mine);
    auto const left = residual_of(ctx, g, mine);
    if (!std::isfinite(length) || !std::isfinite(left)) throw non_finite_error("the gradient is not finite");
    mine.sent = mine.known == 0 || !(left <= use.how.limit(ctx.number, length));
    write(mine, out);
    std::size_t coded = 0;
    if (mine.sent || draws_support) coded = code.encode(alone(ctx), in<Exec>(rest), after(mine, out));
    auto const bytes = mine.bytes() + (mine.sent ? coded : 0);
    sent = part(out, 0, bytes);
    return bytes;
  }
  /// The code of g alone, or of what the last one lacks if that loses less.
  std::size_t encode_nearer(context const& ctx, in<Exec> g, notes mine, bytes<Exec> out) {
    auto const one = alone(ctx);
    auto const room = after(mine, out);
    auto coded = code.encode(one, g, room);
    lost = code.left_behind(one, part(room, 0, coded));
    auto kept = mine;
    kept.keeps = true;
    // What two finite vectors differ by need not be finite.
    if (kept.terms() > 0 && std::isfinite(residual_of(ctx, g, kept))) {
      auto const other = ctx.template scratch<std::byte>(code.capacity(0, one.world));
      auto const size_of_other = code.encode(one, in<Exec>(rest), other);
      auto const lost_by_other = code.left_behind(one, part(other, 0, size_of_other));
      if (lost_by_other < lost) {
        std::memcpy(room.data(), other.data(), size_of_other);
        mine.keeps = true;
        lost = lost_by_other;
        coded = size_of_other;
      }
    }
    mine.sent = true;
    write(mine, out);
    sent = part(out, 0, mine.bytes() + coded);
    return mine.bytes() + coded;
  }

  // ---- messages --------------------------------------------------------------------------------------------------

  notes notes_of(context const& ctx) const {
    notes mine{.known = history.known(), .checks = use.how.checks(ctx.number)};
    if (mine.checks) mine.checksum = history.checksum(ctx.rank);
    return mine;
  }
  static void write(notes const& n, bytes<Exec> out) {
    auto const word = n.word();
    std::memcpy(out.data(), &word, 4);
    std::memcpy(out.data() + 4, n.factor.data(), n.factor_bytes());
    if (n.checks) std::memcpy(out.data() + 4 + n.factor_bytes(), &n.checksum, sizeof n.checksum);
  }
  template <class Bytes>
  static Bytes after(notes const& n, Bytes const& message) {
    return part(message, n.bytes(), message.extent(0) - n.bytes());
  }
  /// Trusts nothing.
  notes read(context const& ctx, in_bytes<Exec> m, int from) const {
    auto const who = "rank " + std::to_string(from);
    std::uint32_t word = 0;
    if (m.extent(0) < 4) throw payload_error("has a message of " + who + " that is too short for its first word");
    std::memcpy(&word, m.data(), 4);
    notes n{.known = static_cast<int>(word >> 8 & 0xff),
            .checks = use.how.checks(ctx.number),
            .sent = !How::fits || (word & 1) != 0,
            .keeps = (word & 4) != 0};
    if (n.word() != word) throw payload_error("has a message of " + who + " whose first word no rank writes");
    if (n.known != history.known())
      throw state_error(who + " predicts from " + std::to_string(n.known) + " past gradients, and " +
                        std::to_string(history.known()) + " of it are known here" + remedy);
    if (m.extent(0) < n.bytes() || (!n.sent && m.extent(0) != n.bytes()))
      throw payload_error("has a message of " + who + " of another length than its first word says");
    if (!n.sent && n.known == 0) throw payload_error("has a message of " + who + " that neither predicts nor sends");
    std::memcpy(n.factor.data(), m.data() + 4, n.factor_bytes());
    for (auto const c : n.factor)
      if (!std::isfinite(c)) throw payload_error("has a coefficient of " + who + " that is not finite");
    if (n.checks) std::memcpy(&n.checksum, m.data() + 4 + n.factor_bytes(), sizeof n.checksum);
    return n;
  }

  void reconstruct_all(context const& ctx, std::span<in_bytes<Exec> const> messages) {
    for (int p = 0; p < ctx.world; ++p) reconstruct(ctx, p, messages[static_cast<std::size_t>(p)]);
  }
  /// Of what is next in the histories of all.
  void take_mean(context const& ctx, view<Exec> mean) {
    for (int p = 0; p < ctx.world; ++p) newest[static_cast<std::size_t>(p)] = history.next(p).data();
    kernel::mean_of(ctx.exec, newest.data(), newest.size(), mean.data(), size());
  }
  /// What rank p's gradient was, as all ranks know it now; into room that no commit has reached.
  void reconstruct(context const& ctx, int p, in_bytes<Exec> message) {
    auto const said = read(ctx, message, p);
    if (said.checks && p != ctx.rank && said.checksum != history.checksum(p))
      throw state_error("the past gradients of rank " + std::to_string(p) + " are others here than at that rank" +
                        remedy);
    auto const one = alone(ctx);
    view<Exec> const next = history.next(p);
    if (said.sent) {
      in_bytes<Exec> const coded = after(said, message);
      arrival<Exec> const only{{&coded, 1}, arrival_form::each};
      code.check(one, only);
      code.commit(one, next, only);
    }
    if (!kernel::restore(ctx.exec, predicted(p, said), said.sent ? next.data() : nullptr, next.data(), size()))
      throw non_finite_error("what was reconstructed of the gradient of rank " + std::to_string(p) + " is not finite");
  }
};

}  // namespace gradpress
