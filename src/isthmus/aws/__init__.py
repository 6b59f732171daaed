"""The AWS-compatible API without its sockets: what the service models of botocore say, carried out.

A shell that has a request and knows which service it was signed for does this with it:

    call = requests.read(service, request)                 what is asked, parsed and valid
    output = handlers.OPERATIONS.handler(call)(context, call.parameters)
    response = responses.write(call, output, request_id)

and answers ``responses.refuse(service, error, request_id)`` to any ServiceError on the way. Input
and output have the form that they have for a caller of boto3. What an operation takes and gives,
under which path, and with which bounds is in the models and nowhere else.

Pure: the models are read from the installed botocore once, and nothing else is.
"""
