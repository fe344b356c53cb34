"""What runs a bundle: Python with numpy and wasmtime, and no library of machine learning."""
