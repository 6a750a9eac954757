"""The figures of chapters: drawn from the recorded points when the book is built, as inline SVG that a reader can use."""
