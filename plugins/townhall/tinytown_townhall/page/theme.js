// Sets the theme before anything is drawn. A classic script, since modules run later.
document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "auto";
