// What commands on a trained network share.
#pragma once

#include "commands.hpp"
#include "explainer.hpp"

#include <filesystem>

/// The network of --weights: a file, or the best of a run's directory.
TrainedNetwork load(const TrainedCommand& command);

/// The data of --data, or what the network was trained on; throws FileError where they do not fit the network.
DataSet data_for(const TrainedNetwork& trained, const TrainedCommand& command);

/// The images of a command, as the network takes them, and what to call them.
struct NamedImage {
  std::string name;
  ph::LabelledImages image;
  ph::Picture picture;  ///< as it was
  bool labelled = false;
};
std::vector<NamedImage> images_for(const TrainedNetwork& trained, const ImagesCommand& command);

/// Makes a directory for results; throws FileError where it cannot.
void make_directory(const std::filesystem::path& path);

/// Threads for as long as it lives.
struct Threads {
  Eigen::ThreadPool pool;
  Network::Device device;
  explicit Threads(int asked) : pool(thread_count(asked)), device(&pool, thread_count(asked)) {}
};
