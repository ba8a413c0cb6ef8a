// Trains pooled networks, compares pools, and shows what networks look at.
#include "commands.hpp"
#include "network.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>

namespace {

constexpr const char* exit_codes =
    "Exit codes: 0 done; 2 anything wrong with the arguments or the files (one sentence on stderr says what);\n"
    "130 stopped by Ctrl-C, after saving.";

std::string network_list() {
  std::string text = "the network:";
  for (const auto& info : all_networks())
    text += "\n  " + std::string(info.name) + ": " + std::string(info.description);
  return text;
}
std::string pool_list() {
  std::string text;
  for (const auto& name : pool_names()) text += (text.empty() ? "" : ", ") + name.first;
  return text;
}

void add_threads(CLI::App* app, int& threads) {
  app->add_option("--threads", threads, "how many; results are the same bits for any number [one per core]")
      ->check(CLI::Range(1, 1024));
}

/// The options that train and compare share.
void add_training(CLI::App* app, TrainOptions& o) {
  app->add_option(
         "--data", o.data,
         "'synthetic' (embedded: 10 classes of 28x28, 8,000 + 2,000 images), or a directory:\n"
         "  IDX files (MNIST, Fashion-MNIST), plain or .gz;\n"
         "  CIFAR-10's binary files;\n"
         "  a folder of PNG or JPEG files for each class, in train/ and validation/ or, without these,\n"
         "  with every fifth file for validation")
      ->capture_default_str();
  app->add_option("--image-size", o.image_size, "height and width that folders of images are brought to")
      ->check(CLI::Range(8, 512))
      ->capture_default_str();
  app->add_option("--classes", o.classes, "how many there are, for IDX files")
      ->check(CLI::Range(2, 256))
      ->capture_default_str();
  app->add_option("--epochs", o.epochs, "passes over the training split")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app->add_option("--batch-size", o.batch_size, "images per step")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app->add_option("--learning-rate", o.learning_rate, "the step size; of one-cycle its peak")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app->add_option("--optimizer", o.optimizer, "adam, adamw (decoupled weight decay) or sgd")
      ->check(CLI::IsMember({"adam", "adamw", "sgd"}))
      ->capture_default_str();
  app->add_option("--momentum", o.momentum, "of sgd; one-cycle sets its own, from 0.95 to 0.85 and back")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app->add_option("--weight-decay", o.weight_decay,
                  "pulls the weights towards 0: added to the gradient, with adamw apart from it")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  app->add_option(
         "--schedule", o.schedule,
         "of the learning rate: constant, step (a tenth after each third of the training), cosine, one-cycle")
      ->check(CLI::IsMember({"constant", "step", "cosine", "one-cycle"}))
      ->capture_default_str();
  app->add_option(
         "--augment", o.augment,
         "random changes of training images, a list of flip (left to right), shift (up to 2 pixels), erase\n"
         "(a square of 8x8), none; without the option none")
      ->expected(0, 1)
      ->default_str("flip,shift");
  app->add_option("--normalise", o.normalise,
                  "pixels: standard (mean 0, deviation 1 over the training split) or unit (0 to 1)")
      ->check(CLI::IsMember({"standard", "unit"}))
      ->capture_default_str();
  app->add_option("--order", o.order, "of training images: random (another in each epoch) or file")
      ->check(CLI::IsMember({"random", "file"}))
      ->capture_default_str();
  app->add_option("--init", o.init, "of weights: default (PyTorch's), xavier, kaiming (uniform)")
      ->check(CLI::IsMember({"default", "xavier", "kaiming"}))
      ->capture_default_str();
  app->add_option("--bias", o.bias, "what biases begin with, of xavier and kaiming")->capture_default_str();
  app->add_option("--seed", o.seed, "of weights, order, augmentation, dropout and synthetic data")
      ->capture_default_str();
  app->add_option("--layout", o.layout, "how images and feature maps lie in memory: nhwc or nchw")
      ->check(CLI::IsMember({"nhwc", "nchw"}))
      ->capture_default_str();
}

void add_trained(CLI::App* app, TrainedCommand& c) {
  app->add_option("--weights", c.weights,
                  "a run's directory (its best weights) or a .safetensors file of train's")
      ->capture_default_str();
  app->add_option("--data", c.data, "what to take validation images from [what the network was trained on]");
  add_threads(app, c.threads);
}

void add_images(CLI::App* app, ImagesCommand& c) {
  add_trained(app, c);
  app->add_option("IMAGE", c.images, "PNG or JPEG files; they are brought to the network's size and channels");
  app->add_option("--index", c.indices, "numbers of validation images, counted from 0: 0,17,4")->delimiter(',');
  app->add_option("--out", c.out, "the directory that the pictures go to")->capture_default_str();
}

template <class Command>
CLI::App* add_command(CLI::App& app, const std::string& name, const std::string& text, Command& command,
                      int (*run)(const Command&), int& code) {
  CLI::App* sub = app.add_subcommand(name, text);
  sub->footer(exit_codes);
  sub->callback([&command, run, &code] { code = run(command); });
  return sub;
}

int parse_and_run(int argc, char** argv) {
  CLI::App app{
      "Trains networks that end in global pools, compares the pools, and shows what the networks look at.\n"
      "Every subcommand has its own --help."};
  app.footer(exit_codes);
  app.require_subcommand(1);
  int code = done;

  TrainCommand train_command;
  TrainOptions& options = train_command.options;
  auto* sub = add_command(
      app, "train",
      "Trains a network. DIR gets model.safetensors (best epoch), last.safetensors, metrics.csv,\n"
      "report.html and checkpoint.safetensors, from which --resume goes on after Ctrl-C or a crash,\n"
      "to the same bits as if nothing had happened.",
      train_command, train, code);
  sub->add_option("--model", options.model, network_list())->capture_default_str();
  sub->add_option("--pool", options.pool, "the head of --model pooled: " + pool_list())->capture_default_str();
  add_training(sub, options);
  sub->add_option("--out", train_command.out, "the run's directory")->capture_default_str();
  sub->add_flag("--resume", train_command.resume,
                "goes on from the checkpoint in DIR, with the options that the run began with");
  add_threads(sub, train_command.threads);

  EvaluateCommand evaluate_command;
  sub = add_command(app, "evaluate", "Accuracy, loss, precision and recall of each class, confusion matrix.",
                    evaluate_command, evaluate, code);
  add_trained(sub, evaluate_command);

  PredictCommand predict_command;
  sub = add_command(app, "predict", "What a network takes images for.", predict_command, predict, code);
  sub->add_option("--weights", predict_command.weights,
                  "a run's directory (its best weights) or a .safetensors file")
      ->capture_default_str();
  sub->add_option("IMAGE", predict_command.images,
                  "PNG or JPEG files; they are brought to the network's size and channels")
      ->required();
  sub->add_option("--top", predict_command.top, "how many answers to show")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();

  CompareCommand compare_command;
  compare_command.options.epochs = 3;
  sub = add_command(
      app, "compare",
      "Trains the same backbone (--model pooled of train) with each head, over seeds. Shows parameters,\n"
      "accuracy (mean and deviation), seconds per epoch and peak memory; DIR gets compare.csv and\n"
      "report.html.",
      compare_command, compare, code);
  sub->add_option("--pools", compare_command.pools, "the heads, a list of " + pool_list())
      ->delimiter(',')
      ->capture_default_str();
  sub->add_option("--seeds", compare_command.seeds, "how many runs of each head, from --seed on")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  add_training(sub, compare_command.options);
  sub->add_option("--out", compare_command.out, "the directory for the results")->capture_default_str();
  add_threads(sub, compare_command.threads);

  ExplainCommand explain_command;
  sub = add_command(
      app, "explain",
      "Class activation maps, laid over the images, as PNG files: what spoke for a class, from dark\n"
      "violet (nothing) to yellow (most).",
      explain_command, explain, code);
  add_images(sub, explain_command);
  sub->add_option(
         "--method", explain_command.method,
         "cam (networks whose average pool is followed by one dense layer: pooled with gap, conv-gap),\n"
         "grad-cam, grad-cam++, layer-cam, score-cam, or all")
      ->check(CLI::IsMember({"cam", "grad-cam", "grad-cam++", "layer-cam", "score-cam", "all"}))
      ->capture_default_str();
  sub->add_option("--layer", explain_command.layer,
                  "the layer, by name [the last feature map before the pools]");
  sub->add_option("--class", explain_command.target, "the class, by name or number [the network's answer]");

  LayersCommand layers_command;
  layers_command.out = "layers";
  sub = add_command(app, "layers", "The activations of a layer, every channel a tile, as PNG files.",
                    layers_command, layers, code);
  add_images(sub, layers_command);
  sub->add_option("--layer", layers_command.layer,
                  "the layer, by name, or all [the last feature map before the pools]");

  ObserveCommand observe_command;
  sub = add_command(
      app, "observe",
      "Runs the network over validation images and shows, for every layer, mean, deviation, range, zeros,\n"
      "dead channels and values that are not finite.",
      observe_command, observe, code);
  add_trained(sub, observe_command);
  sub->add_option("--images", observe_command.images, "how many, from the first on")
      ->check(CLI::Range(1, 10000000))
      ->capture_default_str();

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  }
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // whoever follows a log sees each line at once
  try {
    return parse_and_run(argc, argv);
  } catch (const std::exception& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "poolhead_classifier: %s\n", error.what());
    return bad_input;
  }
}
