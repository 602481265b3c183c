// SPDX-License-Identifier: Apache-2.0
#pragma once

/// \file
/// The command line.

#include <algorithm>
#include <charconv>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace digits {

struct options {
  int epochs = 30, seeds = 3, ranks = 4;
  double rate = 0.2, momentum = 0.5;
  std::vector<std::string> methods;  ///< empty: all
  std::string data = DIGITS_DATA;    // the build says where the file lies
  std::string chart = "digits.svg";
  std::string csv = "digits_results.csv";
  bool help = false, quick = false, mpi = false;
};

/// A mistake on the command line, in one sentence.
struct usage_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline constexpr std::string_view usage =
    R"(Trains a small network on handwritten digits with several ranks, once for each way to exchange gradients,
and shows what each way sends and how well the network reads digits afterwards.

  digits [options]

  --epochs N      passes over the training data (30)
  --seeds N       runs of each method, from seeds 1..N; the table shows mean and spread (3)
  --ranks N       workers, as threads of this process, 1 to 64 (4)
  --rate X        learning rate of all methods (0.2)
  --momentum X    momentum of all methods, below 1 (0.5)
  --methods A,B   only these, in this order; see below
  --chart FILE    where the chart goes (digits.svg)
  --csv FILE      where the figures go (digits_results.csv)
  --data FILE     the digits (data/digits.csv beside the source of this program)
  --quick         1 seed and 3 epochs, to see that everything works
  --mpi           ranks are the processes that mpirun started, instead of threads
  --help          this text
)";

namespace detail {

inline int whole_number(std::string_view option, std::string_view text, int least, int most) {
  int value = 0;
  auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size() || value < least || value > most)
    throw usage_error(std::string(option) + " takes a whole number from " + std::to_string(least) + " to " +
                      std::to_string(most) + ", not '" + std::string(text) + "'");
  return value;
}

inline double number(std::string_view option, std::string_view text, double least, double below) {
  double value = 0;
  auto const [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size() || !(value >= least && value < below)) {
    std::ostringstream why;
    why << option << " takes a number from " << least << " to below " << below << ", not '" << text << "'";
    throw usage_error(why.str());
  }
  return value;
}

inline std::vector<std::string> names(std::string_view option, std::string const& text) {
  std::vector<std::string> all;
  std::istringstream parts(text);
  for (std::string one; std::getline(parts, one, ',');) {
    if (std::find(all.begin(), all.end(), one) != all.end())
      throw usage_error(std::string(option) + " names '" + one + "' twice");
    all.push_back(one);
  }
  if (all.empty()) throw usage_error(std::string(option) + " takes names, separated by commas");
  return all;
}

}  // namespace detail

/// Throws `usage_error`.
inline options parse(std::vector<std::string> const& arguments) {
  options o;
  bool epochs_given = false, seeds_given = false, ranks_given = false;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    auto const& name = arguments[i];
    auto const value = [&]() -> std::string const& {
      if (i + 1 == arguments.size()) throw usage_error(name + " needs a value after it");
      return arguments[++i];
    };
    if (name == "--help" || name == "-h")
      o.help = true;
    else if (name == "--quick")
      o.quick = true;
    else if (name == "--mpi")
      o.mpi = true;
    else if (name == "--epochs")
      o.epochs = detail::whole_number(name, value(), 1, 10000), epochs_given = true;
    else if (name == "--seeds")
      o.seeds = detail::whole_number(name, value(), 1, 100), seeds_given = true;
    else if (name == "--ranks")
      o.ranks = detail::whole_number(name, value(), 1, 64), ranks_given = true;
    else if (name == "--rate")
      o.rate = detail::number(name, value(), 0, 100);
    else if (name == "--momentum")
      o.momentum = detail::number(name, value(), 0, 1);
    else if (name == "--methods")
      o.methods = detail::names(name, value());
    else if (name == "--chart")
      o.chart = value();
    else if (name == "--csv")
      o.csv = value();
    else if (name == "--data")
      o.data = value();
    else
      throw usage_error("there is no option '" + name + "'; --help lists them all");
  }
  if (o.quick && !epochs_given) o.epochs = 3;
  if (o.quick && !seeds_given) o.seeds = 1;
  if (o.mpi && ranks_given)
    throw usage_error("--ranks and --mpi exclude each other: under MPI, mpirun says how many ranks there are");
#ifndef GRADPRESS_HAS_MPI
  if (o.mpi) throw usage_error("--mpi is not available: this program was built without MPI");
#endif
  return o;
}

}  // namespace digits
