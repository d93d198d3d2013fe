"""The town over HTTP for programs, and as a web page for people.

`endpoints` says what can be asked, one function for each; `routing` and `openapi` make HTTP and its description of them. `front`
lets in who may come in, `hall` finds out who asks. `serving` owns sockets and connections. `live` keeps open pages current;
`page` is what a browser gets. Every change is an operation of the town, under the same rules as the command line.
"""
