// A network behind one face, and the list of all of them.
#pragma once

#include "options.hpp"

#include <poolhead/io/tensor_file.hpp>

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// What --layout, --threads and --mode say.
struct RunOptions {
  bool channels_last = false;
  int threads = 1;
  bool trains = false;
};

class AnyNetwork {
 public:
  virtual ~AnyNetwork() = default;
  /// f(name, shape) of everything that --weights must hold.
  virtual void list(const std::function<void(std::string_view, std::span<const poolhead::Index>)>& f) const = 0;
  virtual void load(const std::filesystem::path& weights) = 0;
  /// What --output gets for what --input holds.
  virtual poolhead::TensorFile run(const poolhead::TensorFile& input, const RunOptions& options) = 0;
};

/// Makes a network from the options; x is the shape of the input, (0, 0, 0, 0) where there is none.
using MakeNetwork = std::function<std::unique_ptr<AnyNetwork>(Options&, const std::vector<poolhead::Index>& x)>;

struct Model {
  std::string name;
  MakeNetwork in_float;
  MakeNetwork in_double;
};

// Each in a unit of its own; together they are all of networks.
std::vector<Model> four_heads();
std::vector<Model> stacks();
std::vector<Model> extractors();
std::vector<Model> resnets();
std::vector<Model> densenets();
std::vector<Model> blocks();
std::vector<Model> heads();
