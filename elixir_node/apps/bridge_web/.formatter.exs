[
  import_deps: [:phoenix],
  plugins: [Phoenix.LiveView.HTMLFormatter],
  inputs: ["*.exs", "{lib,test}/**/*.{ex,exs,heex}"],
  line_length: 98
]
