// Runs a network of the library on weights and inputs that any framework wrote as safetensors.
#include "network.hpp"

#include <poolhead/io/safetensors.hpp>

#include <CLI/CLI.hpp>

#include <cstdio>

namespace ph = poolhead;

namespace {

constexpr int bad_input = 2;

struct Arguments {
  std::string model;
  std::vector<std::string> options;
  std::filesystem::path weights, input, output;
  std::string layout = "nchw", mode = "eval";
  int threads = 1;
  bool in_double = false, list = false;
};

const Model& find(const std::vector<Model>& models, const std::string& name) {
  for (const Model& model : models)
    if (model.name == name) return model;
  ph::detail::fail<ph::ValueError>("--model ", name, ": there is no such model; --list shows all");
}

/// One line that ends in the model's options, then its parameters.
void list(const Model& model, Options options) {
  const auto network = model.in_float(options, {0, 0, 0, 0});
  options.check_all_read(model.name);
  std::printf("%s%s\n", model.name.c_str(), options.text().c_str());
  for (const auto& tensor : network->state())
    std::printf("  %s\n", ph::detail::message(tensor.name, " ", std::span(tensor.shape)).c_str());
}

/// Throws FileError with the path before any other error of f.
template <class F>
auto about(const std::filesystem::path& path, const F& f) {
  try {
    return f();
  } catch (const ph::FileError&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw ph::FileError(path.string() + ": there is not enough memory for this");
  } catch (const std::exception& error) {
    throw ph::FileError(path.string() + ": " + error.what());
  }
}

void run(const Arguments& arguments, const std::vector<Model>& models) {
  const Model& model = find(models, arguments.model);
  Options options(arguments.options);
  const auto input = about(arguments.input, [&] {
    auto file = ph::read_safetensors(arguments.input);
    const auto x = file.tensors.find("x");
    if (x == file.tensors.end()) ph::detail::fail<ph::ValueError>("there is no tensor x");
    if (x->second.shape.size() != 4)
      ph::detail::fail<ph::ShapeError>("x is ", std::span(x->second.shape), ", expected (N, C, H, W)");
    return file;
  });
  const auto network =
      (arguments.in_double ? model.in_double : model.in_float)(options, input.tensors.find("x")->second.shape);
  options.check_all_read(model.name);
  about(arguments.weights, [&] {
    ph::detail::assign_network_tensors(arguments.weights.string(), ph::read_safetensors(arguments.weights),
                                       network->state());
  });
  const RunOptions how{arguments.layout == "nhwc", arguments.threads, arguments.mode == "train"};
  const auto result = about(arguments.input, [&] { return network->run(input, how); });
  about(arguments.output, [&] { ph::write_safetensors(arguments.output, result); });
}

/// One line of at most 300 bytes; control characters and what is not UTF-8 are escaped.
std::string one_line(std::string_view text) {
  std::string line;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t at) {
      return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u;
    };
    const unsigned first = byte(i);
    const std::size_t length = first < 0x80       ? 1
                               : first >> 5 == 6  ? 2
                               : first >> 4 == 14 ? 3
                               : first >> 3 == 30 ? 4
                                                  : 0;
    bool plain = length > 0 && first >= 0x20 && first != 0x7f && !(first == 0xc2 && byte(i + 1) < 0xa0);
    for (std::size_t k = 1; k < length; ++k) plain = plain && byte(i + k) >> 6 == 2;
    if (plain) {
      line += text.substr(i, length);
      i += length;
    } else {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", first);
      line += escape;
      ++i;
    }
  }
  constexpr std::size_t limit = 300;
  if (line.size() > limit) {
    std::size_t end = limit - 3;
    while (end > 0 && (static_cast<unsigned char>(line[end]) >> 6) == 2) --end;
    line.resize(end);
    line += "...";
  }
  return line;
}

int fail(std::string_view message) {
  std::fprintf(stderr, "%s\n", one_line(message).c_str());
  return bad_input;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{
      "Runs a network forward, and backward where the input holds dy, on weights that PyTorch saved.\n"
      "The input holds x (N, C, H, W) and may hold dy; the output gets y, and with dy also dx and "
      "grad.<parameter>;\n"
      "with --mode train also the updated buffers. Dropout is off.\n"
      "Exit codes: 0 done, 2 for anything wrong with the arguments or the files (one line on stderr)."};
  app.add_option("--model", arguments.model, "which network, block or head; --list shows all");
  app.add_option("--option", arguments.options, "key=value, as often as needed; --list shows a model's keys")
      ->allow_extra_args(false);
  app.add_option("--weights", arguments.weights, "the state_dict, as safetensors");
  app.add_option("--input", arguments.input, "x and perhaps dy, as safetensors");
  app.add_option("--output", arguments.output, "where the results go, as safetensors");
  app.add_option("--layout", arguments.layout, "of the computation; files are always NCHW")
      ->check(CLI::IsMember({"nchw", "nhwc"}))
      ->capture_default_str();
  app.add_option("--threads", arguments.threads, "that compute; the result is the same bits for any number")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_flag("--double", arguments.in_double, "compute in double");
  app.add_option("--mode", arguments.mode, "train: batch-norm by the batch; eval: by its running statistics")
      ->check(CLI::IsMember({"train", "eval"}))
      ->capture_default_str();
  app.add_flag("--list", arguments.list,
               "shows every model, or --model with its --option values, and its parameters");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::Error& error) {
    return fail(error.what());
  }
  try {
    const auto models = all_models();
    if (arguments.list) {
      for (const Model& model : models)
        if (arguments.model.empty() || model.name == arguments.model) list(model, Options(arguments.options));
      if (!arguments.model.empty()) find(models, arguments.model);
      return 0;
    }
    for (const auto& [name, value] : {std::pair{"--model", arguments.model.empty()},
                                      {"--weights", arguments.weights.empty()},
                                      {"--input", arguments.input.empty()},
                                      {"--output", arguments.output.empty()}})
      if (value) return fail(std::string(name) + " is missing; --help shows all arguments");
    run(arguments, models);
    return 0;
  } catch (const std::exception& error) {
    return fail(error.what());
  }
}
