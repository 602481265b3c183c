// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// Metrics: measurements as lines of comma-separated values.

#include <gradpress/core/measurement.hpp>

#include <charconv>
#include <ostream>
#include <string>

namespace gradpress {

/// An observer that writes a line for each tensor and step, and a header before the first.
///
///     gp::csv_writer csv{file};
///     reducer.watch(w, std::ref(csv));       // several tensors may share it
///
/// - Numbers   the shortest text that reads back as the same number, with a point in every locale.
/// - Names     quoted where they hold a comma, a quote or a line break (RFC 4180).
/// - Threads   one rank's; ranks that share a stream must not write at the same time.
class csv_writer {
  std::ostream* to_;
  bool begun_ = false;

 public:
  /// The stream must outlive the writer.
  explicit csv_writer(std::ostream& to) : to_(&to) {}

  static constexpr std::string_view header =
      "step,tensor,elements,bytes_sent,bytes_received,ratio,signal_norm,left_behind,update_density,encode_seconds,"
      "exchange_seconds,decode_seconds,assumption_ratio";

  void operator()(measurement const& m) {
    if (!begun_) *to_ << header << '\n';
    begun_ = true;
    number(m.step);
    *to_ << ',';
    name(m.tensor);
    for (auto const v : {m.elements, m.bytes_sent, m.bytes_received}) *to_ << ',', number(v);
    for (auto const v :
         {m.ratio(), m.signal, m.left_behind, m.update_density, m.encode_seconds, m.exchange_seconds, m.decode_seconds})
      *to_ << ',', number(v);
    *to_ << ',';
    if (m.assumption) number(*m.assumption);
    *to_ << '\n';
  }

 private:
  template <class T>
  void number(T v) {
    char text[32];
    to_->write(text, std::to_chars(text, text + sizeof text, v).ptr - text);
  }
  void name(std::string_view s) {
    if (s.find_first_of(",\"\r\n") == std::string_view::npos) {
      *to_ << s;
      return;
    }
    *to_ << '"';
    for (char const c : s) *to_ << c << (c == '"' ? "\"" : "");
    *to_ << '"';
  }
};

}  // namespace gradpress
