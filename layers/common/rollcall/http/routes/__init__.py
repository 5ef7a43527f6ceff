"""The routes of the API, in a file for each thing that they are about.

A function answers one request at a time. So routes, and what they depend on, are asynchronous although they wait for
AWS: FastAPI would hand each of them to a thread, which costs more time than the route does.
"""
