"""What a figure says."""


def texts(figure) -> str:
    from matplotlib.text import Text

    figure.canvas.draw()
    return "\n".join(t.get_text() for t in figure.findobj(Text))
